"""Noise falls as diffusers' scheduler has it in its pipeline; a checkpoint of another schedule is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.errors import CheckpointUnfit
from engines.families.helios import schedule

DYNAMIC = {"use_dynamic_shifting": True}


@pytest.mark.parametrize(
    "said", [{}, DYNAMIC, {**DYNAMIC, "time_shift_type": "linear"}, {"shift": 3.0}, {"scheduler_type": "euler"}]
)
@pytest.mark.parametrize("tokens", [144, 8640])
def test_levels_and_times_are_the_schedulers(torch: Any, said: dict[str, Any], tokens: int) -> None:
    from diffusers.pipelines.helios.pipeline_helios import calculate_shift

    from loadtests.compute.checkpoint import of_helios

    made = of_helios(said)
    even = np.linspace(0.999, 0.0, 8)[:-1]
    made.set_timesteps(7, device="cpu", sigmas=even, mu=calculate_shift(tokens))
    found = schedule.read({"stages": 1, **said})
    np.testing.assert_allclose(found.levels(7, tokens), made.sigmas.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.times(7, tokens), made.timesteps.numpy(), rtol=1e-9)


def test_a_schedule_that_is_not_computed_is_refused() -> None:
    for said, told in (
        ({}, "stages is 3"),
        ({"stages": 1, "solver_order": 3}, "solver_order is 3"),
        ({"stages": 1, "scheduler_type": "dmd"}, "scheduler_type is 'dmd'"),
        ({"stages": 1, "shift": 3.0, **DYNAMIC}, "shift is 3.0"),
        ({"stages": 1, "max_image_seq_len": 256, **DYNAMIC}, "image_seq_len"),
    ):
        with pytest.raises(CheckpointUnfit, match=told):
            schedule.read(said)
    with pytest.raises(ValueError, match="at least 1"):
        schedule.read({"stages": 1}).levels(0, 144)


def test_another_model_is_refused_by_what_it_is(make_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    wrong: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("model_index.json", {"_class_name": "HeliosPyramidPipeline"}, "read by no family here"),
        ("model_index.json", {"scheduler": ["diffusers", "HeliosDMDScheduler"]}, "has HeliosScheduler here"),
        ("transformer/config.json", {"in_channels": 16}, "in_channels is 16"),
        ("transformer/config.json", {"has_multi_term_memory_patch": False}, "has_multi_term_memory_patch"),
    )
    for number, (file, change, told) in enumerate(wrong):
        root = Path(shutil.copytree(make_checkpoint("shifted"), tmp_path / str(number)))
        path = root / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(CheckpointUnfit, match=told):
            models.opened(Folder(root), name="helios")
