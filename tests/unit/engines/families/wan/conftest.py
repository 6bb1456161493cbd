"""Tiny checkpoints with random weights, made by diffusers as the real ones are, and the pipelines they came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines.families.wan.checkpoints import pipeline, save


@pytest.fixture(scope="session")
def torch() -> Any:
    """torch on one thread, where all that a Wan is built with is installed."""
    reason = "Wan is built with longtake[build]: torch, diffusers, transformers"
    found = pytest.importorskip("torch", reason=reason)
    for name in ("diffusers", "transformers", "tokenizers"):
        pytest.importorskip(name, reason=reason)
    found.set_num_threads(1)
    return found


@pytest.fixture(scope="session")
def make_pipeline(torch: Any) -> Callable[[str], Any]:
    """Makes the pipeline of a checkpoint (see `checkpoints.pipeline`) with random weights, always the same."""
    return pipeline


@pytest.fixture(scope="session")
def make_checkpoint(torch: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a task's tiny checkpoint, its weights in several shards."""
    made: dict[str, Path] = {}

    def make(task: str) -> Path:
        if task not in made:
            made[task] = tmp_path_factory.mktemp(task)
            save(task, made[task])
        return made[task]

    return make
