"""The graphs that are compiled: those that ship, and those of a tiny Wan checkpoint with random weights."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from engines import models
from engines.building import export
from engines.checkpoints.files import Folder
from engines.spec import ComponentSpec
from tests.unit.engines.families.wan.checkpoints import save

Named = tuple[str, bytes, ComponentSpec]


def of_sprite() -> Iterator[Named]:
    """The graphs of the package, which are its engines for ONNX Runtime."""
    model = models.find("sprite")
    found = asyncio.run(model.package_store().find(model.name, None))
    for entry in found.manifest.engines:
        yield f"sprite {entry.component}", asyncio.run(found.read(entry)), entry.spec.component


def of_wan(folder: Path) -> Iterator[Named]:
    """Exported anew from a checkpoint that is made in the folder."""
    save("text", folder / "checkpoint")
    model = models.opened(Folder(folder / "checkpoint"), name="wan-tiny")
    for name, graph in model.family.graphs(model.weights).items():
        exported, component, _ = export.export(name, graph)
        yield f"tiny Wan {name}", exported, component
