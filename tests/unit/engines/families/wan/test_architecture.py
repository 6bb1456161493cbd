"""Which Wan a checkpoint is, is told from its small files; what is not computed as it says is refused, in a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.families.wan import architecture


@pytest.mark.parametrize(
    ("task", "condition", "picture"), [("text", 0, 0), ("image", 8, 16), ("vace", 72, 0)], ids=["text", "image", "vace"]
)
def test_each_task_is_told_with_its_sizes(
    make_checkpoint: Callable[[str], Path], task: str, condition: int, picture: int
) -> None:
    found = architecture.read(Folder(make_checkpoint(task)))
    assert (found.task, found.condition_channels, found.picture_width) == (task, condition, picture)
    assert (found.latent_channels, found.latent_stride, found.frames_per_latent) == (4, 8, 4)
    assert (found.patch, found.text_width, found.flow_shift, found.pad_id) == ((1, 2, 2), 24, 3.0, 0)
    assert len(found.checkpoint.component("transformer").shards) > 1


def _changed(file: str, **values: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "another pipeline": (_changed("model_index.json", _class_name="FluxPipeline"), "FluxPipeline is no Wan"),
    "another denoiser": (
        _changed("model_index.json", transformer=["diffusers", "WanAnimateTransformer3DModel"]),
        "WanAnimateTransformer3DModel, where a WanPipeline has WanTransformer3DModel",
    ),
    "no denoiser": (_changed("model_index.json", transformer=[None, None]), "no transformer"),
    "two denoisers": (
        _changed("model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"]),
        "two denoisers",
    ),
    "another scheduler": (
        _changed("model_index.json", scheduler=["diffusers", "EulerDiscreteScheduler"]),
        "EulerDiscreteScheduler, where",
    ),
    "another way to step": (_changed("scheduler/scheduler_config.json", solver_order=3), "solver_order is 3"),
    "a shift that is none": (_changed("scheduler/scheduler_config.json", flow_shift=0), "flow_shift is 0"),
    "a schedule that is not said": (
        _changed("scheduler/scheduler_config.json", prediction_type="epsilon"),
        "prediction_type is 'epsilon'",
    ),
    "no number": (_changed("vae/config.json", dim_mult=4), "not the values of a Wan"),
    "nothing for a list": (_changed("vae/config.json", temperal_downsample=None), "not the values of a Wan"),
    "a list that is too short": (_changed("transformer/config.json", patch_size=[1]), "not the values of a Wan"),
    "beyond all numbers": (_changed("transformer/config.json", text_dim=1e999), "not the values of a Wan"),
    "latents of another vae": (_changed("vae/config.json", z_dim=16), "latents of 4 channels, where the vae has 16"),
}


@pytest.mark.parametrize(("damage", "told"), WRONG.values(), ids=WRONG)
def test_what_is_not_read_is_refused_in_one_line(
    make_checkpoint: Callable[[str], Path], tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    root = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint("text"), root)
    if "two denoisers" in told:
        shutil.copytree(root / "transformer", root / "transformer_2")
    damage(root)
    with pytest.raises(CheckpointUnfit, match=told) as error:
        architecture.read(Folder(root))
    assert "\n" not in str(error.value)


def test_a_vace_whose_mask_is_another_is_refused(make_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    root = Path(shutil.copytree(make_checkpoint("vace"), tmp_path / "checkpoint"))
    _changed("transformer/config.json", vace_in_channels=96)(root)
    with pytest.raises(CheckpointUnfit, match="vace_in_channels is 96, where"):
        architecture.read(Folder(root))


def test_a_scheduler_that_says_nothing_is_not_taken_for_ours(
    make_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    root = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint("text"), root)
    (root / "scheduler/scheduler_config.json").write_text("{}")
    with pytest.raises(CheckpointUnfit, match="prediction_type is 'epsilon'"):
        architecture.read(Folder(root))
