"""Tiny checkpoints with random weights, made by diffusers as the real ones are, and their modules as engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.helios.family import HeliosFamily
from engines.session import Session
from tests.unit.engines.families.helios.checkpoints import save
from tests.unit.engines.families.wan.modules import session_of

CANVASES = (Canvas("1:1", 64, 64), Canvas("2:1", 64, 128))


@pytest.fixture(scope="session")
def torch() -> Any:
    """torch on one thread, where all that a Helios is built with is installed."""
    reason = "Helios is built with longtake[build]: torch, diffusers, transformers"
    found = pytest.importorskip("torch", reason=reason)
    for name in ("diffusers", "transformers", "tokenizers"):
        pytest.importorskip(name, reason=reason)
    found.set_num_threads(1)
    return found


@pytest.fixture(scope="session")
def make_checkpoint(torch: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint of this kind, its weights in several shards."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            save(made[kind], kind)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def opened(make_checkpoint: Callable[[str], Path]) -> Iterator[Callable[[str], tuple[HeliosFamily, Session]]]:
    """Of a tiny checkpoint the family, on canvases of its size, and its modules as engines."""
    found = dict[str, tuple[HeliosFamily, Session]]()
    with ExitStack() as stack:

        def make(kind: str) -> tuple[HeliosFamily, Session]:
            if kind not in found:
                files = Folder(make_checkpoint(kind))
                family = models.opened(files, name="helios-tiny", sizes=Sizes(CANVASES)).family
                assert isinstance(family, HeliosFamily)
                found[kind] = family, stack.enter_context(session_of(family))
            return found[kind]

        yield make
