"""Which Wan a checkpoint is, is told from its small files; what is not computed as it says is refused, in a line."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.families.wan import architecture


@pytest.mark.parametrize(
    ("checkpoint", "task", "condition"),
    [
        ("text", "text", 0),
        ("image", "image", 8),
        ("vace", "vace", 72),
        ("5b", "still", 0),
        ("5b of image", "still", 0),
        ("two of text", "text", 0),
        ("two of image", "image", 8),
    ],
)
def test_each_task_is_told_with_its_sizes(
    make_checkpoint: Callable[[str], Path], checkpoint: str, task: str, condition: int
) -> None:
    found = architecture.read(Folder(make_checkpoint(checkpoint)))
    assert (found.task, found.condition_channels) == (task, condition)
    assert found.boundary == {"two of text": 875.0, "two of image": 900.0}.get(checkpoint, 0)
    assert [*found.denoisers.values()] == (["dit", "dit_2"] if "two" in checkpoint else ["dit"])
    sight = found.sight and (found.sight.side, found.sight.tokens, found.sight.width)
    assert sight == ((28, 5, 16) if checkpoint == "image" else None)
    stride = 16 if "5b" in checkpoint else 8
    assert (found.latent_channels, found.latent_stride, found.frames_per_latent) == (4, stride, 4)
    assert (found.patch, found.text_width, found.flow_shift, found.pad_id) == ((1, 2, 2), 24, 3.0, 0)
    assert len(found.checkpoint.component("transformer").shards) > 1


def _changed(file: str, **values: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def _without(file: str, name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / file
        values = json.loads(path.read_text())
        del values[name]
        path.write_text(json.dumps(values))

    return change


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "another pipeline": (_changed("model_index.json", _class_name="FluxPipeline"), "FluxPipeline is no Wan"),
    "another denoiser": (
        _changed("model_index.json", transformer=["diffusers", "WanAnimateTransformer3DModel"]),
        "WanAnimateTransformer3DModel, where a WanPipeline has WanTransformer3DModel",
    ),
    "no denoiser": (_changed("model_index.json", transformer=[None, None]), "no transformer"),
    "two denoisers and no word of when": (
        _changed("model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"]),
        "boundary_ratio is None; of two denoisers it says when",
    ),
    "one denoiser of two": (_changed("model_index.json", boundary_ratio=0.9), "there is no transformer_2; copy it too"),
    "two denoisers, told the time of each latent": (
        _changed(
            "model_index.json",
            transformer_2=["diffusers", "WanTransformer3DModel"],
            boundary_ratio=0.9,
            expand_timesteps=True,
        ),
        "transformer_2: a WanPipeline of this kind has one",
    ),
    "another pipeline's denoiser": (
        _changed("model_index.json", _class_name="WanImageToVideoPipeline"),
        "in_channels is 4, where its pipeline gives it 12",
    ),
    "another scheduler": (
        _changed("model_index.json", scheduler=["diffusers", "EulerDiscreteScheduler"]),
        "EulerDiscreteScheduler, where",
    ),
    "another way to step": (_changed("scheduler/scheduler_config.json", solver_order=3), "solver_order is 3"),
    "a shift that is none": (_changed("scheduler/scheduler_config.json", flow_shift=0), "flow_shift is 0"),
    "a shift beyond all": (
        _changed("scheduler/scheduler_config.json", flow_shift=1001),
        "flow_shift is 1001.0; .* 1000",
    ),
    "a shift without end": (_changed("scheduler/scheduler_config.json", flow_shift=math.inf), "flow_shift is inf"),
    "a shift that is no number": (
        _changed("scheduler/scheduler_config.json", flow_shift=math.nan),
        "flow_shift is nan",
    ),
    "a schedule that is not said": (
        _changed("scheduler/scheduler_config.json", prediction_type="epsilon"),
        "prediction_type is 'epsilon'",
    ),
    "no number": (_changed("vae/config.json", dim_mult=4), "not the values of a Wan"),
    "nothing for a list": (_changed("vae/config.json", temperal_downsample=None), "not the values of a Wan"),
    "a patch of one number": (_changed("transformer/config.json", patch_size=[1]), r"patch_size is \[1\]"),
    "a patch of nothing": (_changed("transformer/config.json", patch_size=[1, 0, 2]), r"patch_size is \[1, 0, 2\]"),
    "a patch of two latents along time": (_changed("transformer/config.json", patch_size=[2, 2, 2]), "the first one 1"),
    "one mean for all channels": (
        _changed("vae/config.json", latents_mean=[0.5]),
        "latents_mean is 1 numbers, where 4",
    ),
    "one deviation for all channels": (_changed("vae/config.json", latents_std=[0.5]), "latents_std is 1 numbers"),
    "no mean": (_changed("vae/config.json", latents_mean=None), "latents_mean is None, where 4 belong"),
    "a mean that is no number": (_changed("vae/config.json", latents_mean=[0, 0, 0, math.nan]), "latents_mean has nan"),
    "a deviation of nothing": (_changed("vae/config.json", latents_std=[0, 1, 1, 1]), "latents_std has 0, where"),
    "a deviation without end": (_changed("vae/config.json", latents_std=[math.inf, 1, 1, 1]), "latents_std has inf"),
    "a scale that is left out": (_without("vae/config.json", "latents_mean"), "latents_mean is 0 numbers"),
    "a pad beyond all tokens": (_changed("text_encoder/config.json", pad_token_id=32), "pad_token_id is 32 and"),
    "a pad before all tokens": (_changed("text_encoder/config.json", pad_token_id=-1), "pad_token_id is -1 and"),
    "no pad": (_changed("text_encoder/config.json", pad_token_id=None), "pad_token_id is None and"),
    "beyond all numbers": (_changed("transformer/config.json", text_dim=1e999), "not the values of a Wan"),
    "latents of another vae": (
        _changed("vae/config.json", z_dim=16, latents_mean=[0] * 16, latents_std=[1] * 16),
        "latents of 4 channels, where the vae has 16",
    ),
}


@pytest.mark.parametrize(("damage", "told"), WRONG.values(), ids=WRONG)
def test_what_is_not_read_is_refused_in_one_line(
    make_checkpoint: Callable[[str], Path], tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    root = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint("text"), root)
    if "denoisers" in told or told.startswith("transformer_2"):
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


@pytest.mark.parametrize(
    ("file", "values", "told"),
    [
        ("image_processor/preprocessor_config.json", {"do_center_crop": False}, "do_center_crop is False, and True"),
        ("image_processor/preprocessor_config.json", {"do_normalize": None}, "do_normalize is None, and True"),
        ("image_processor/preprocessor_config.json", {"image_mean": [0.5]}, "image_mean is 1 numbers"),
        ("image_processor/preprocessor_config.json", {"image_mean": [0.5, 0.5, math.nan]}, "image_mean has nan"),
        ("image_processor/preprocessor_config.json", {"image_mean": None}, "image_mean is None, where 3 belong"),
        ("image_processor/preprocessor_config.json", {"image_std": [0.5, 0, 0.5]}, "image_std has 0, where"),
        ("image_processor/preprocessor_config.json", {"size": {"height": 28, "width": 28}}, "size is"),
        ("image_encoder/config.json", {"hidden_size": 24}, "image_dim is 16, where the image_encoder gives 24"),
        ("transformer/config.json", {"pos_embed_seq_len": 514}, "a first and a last frame"),
        ("transformer/config.json", {"in_channels": 16}, "in_channels is 16, where its pipeline gives it 12"),
        ("model_index.json", {"image_encoder": ["transformers", "SiglipVisionModel"]}, "where CLIPVisionModel is read"),
        ("model_index.json", {"image_processor": ["transformers", "ViTImageProcessor"]}, "where CLIPImageProcessor"),
        ("model_index.json", {"image_processor": [None, None]}, "no image_processor"),
    ],
)
def test_a_picture_that_is_seen_otherwise_is_refused(
    make_checkpoint: Callable[[str], Path], tmp_path: Path, file: str, values: dict[str, Any], told: str
) -> None:
    root = Path(shutil.copytree(make_checkpoint("image"), tmp_path / "checkpoint"))
    _changed(file, **values)(root)
    with pytest.raises(CheckpointUnfit, match=told):
        architecture.read(Folder(root))


def test_two_denoisers_of_other_sizes_are_refused(make_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    root = Path(shutil.copytree(make_checkpoint("two of text"), tmp_path / "checkpoint"))
    _changed("transformer_2/config.json", _diffusers_version="0.1")(root)
    assert architecture.read(Folder(root)).boundary == 875
    _changed("transformer_2/config.json", ffn_dim=64)(root)
    with pytest.raises(CheckpointUnfit, match=r"its config\.json is not the transformer's"):
        architecture.read(Folder(root))


def test_a_scheduler_that_says_nothing_is_not_taken_for_ours(
    make_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    root = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint("text"), root)
    (root / "scheduler/scheduler_config.json").write_text("{}")
    with pytest.raises(CheckpointUnfit, match="prediction_type is 'epsilon'"):
        architecture.read(Folder(root))
