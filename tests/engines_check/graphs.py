"""The graphs that are compiled: those that ship, and those of a tiny Wan checkpoint with random weights; each exported
in one precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engines import models
from engines.building import export, lint
from engines.checkpoints.files import Folder
from engines.models import Model
from engines.spec import ComponentSpec
from tests.unit.engines.families.wan.checkpoints import save

Named = tuple[str, bytes, ComponentSpec]


def of_sprite(precision: str) -> Iterator[Named]:
    """Exported anew: in float32 they are those of the package."""
    yield from _of("sprite", models.find("sprite"), precision)


def of_wan(folder: Path, precision: str) -> Iterator[Named]:
    """Exported from a checkpoint that is made in the folder."""
    if not (folder / "checkpoint").exists():
        save("text", folder / "checkpoint")
    yield from _of("tiny Wan", models.opened(Folder(folder / "checkpoint"), name="wan-tiny"), precision)


def _of(title: str, model: Model, precision: str) -> Iterator[Named]:
    for name, graph in model.family.graphs(model.weights).items():
        exported, component, _ = export.export(name, graph, precision=precision)
        lint.lint(name, exported, precision=precision)
        yield f"{title} {name}", exported, component
