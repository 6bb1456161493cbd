"""The graphs that are compiled: those that ship, and those of a tiny Wan checkpoint with random weights; of a tiny Wan
of the 5B's kind and of a tiny Helios the denoisers, which are their own; each exported in one precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engines import models
from engines.building import export, lint
from engines.checkpoints.files import Folder
from engines.models import Model
from engines.spec import ComponentSpec
from tests.unit.engines.families.helios.checkpoints import save as save_helios
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


def of_wan_still(folder: Path, precision: str) -> Iterator[Named]:
    """The denoiser that has a time for each latent."""
    if not (folder / "still").exists():
        save("5b", folder / "still")
    yield from _of("tiny Wan 5B", models.opened(Folder(folder / "still"), name="wan-tiny-5b"), precision, ("dit",))


def of_helios(folder: Path, precision: str) -> Iterator[Named]:
    """The denoiser alone: all else is exported of the Wan."""
    if not (folder / "helios").exists():
        save_helios(folder / "helios", "loud")
    yield from _of("tiny Helios", models.opened(Folder(folder / "helios"), name="helios-tiny"), precision, ("dit",))


def _of(title: str, model: Model, precision: str, names: tuple[str, ...] = ()) -> Iterator[Named]:
    for name, graph in model.family.graphs(model.weights).items():
        if names and name not in names:
            continue
        exported, component, _ = export.export(name, graph, precision=precision)
        lint.lint(name, exported, precision=precision)
        yield f"{title} {name}", exported, component
