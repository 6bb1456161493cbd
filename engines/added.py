"""The models that an operator brought: a record of each checkpoint, and what serving needs of its files.

    models/<name>/record.json       what it is, and where it came from; written last: without it there is no model
    models/<name>/files-<sha256>    its small files, and the headers of its weights

A model that was added is served without its checkpoint: the record has the digest of every file, whole, and its engines
are found by the digest over all of those, so that none is loaded with another tokenizer than it was verified with. A
model with adapters, `base+name`, has a record of its own and the files of its base.
`adding.py` makes the records, `longtake models` writes them here, `serving/model_store.py` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from engines import key as keys
from engines import models, tombstones
from engines import objects as layout
from engines.checkpoints.deltas import AdapterRecord
from engines.checkpoints.files import Held
from engines.errors import EngineCorrupt
from engines.families import step_cache
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.objects import Objects

FORMAT: Final = 1
RECORD_BYTES: Final = 16 << 20
"""Of a record, at most."""
KEPT_BYTES: Final = 512 << 20
"""Of what is kept of a checkpoint's files, at most."""


@dataclass(frozen=True)
class Kept:
    """One file of a checkpoint, and which bytes of what is kept are its beginning, or all of it."""

    name: str
    size: int
    sha256: str
    """Of the whole file."""
    begin: int
    end: int


@dataclass(frozen=True)
class Added:
    """The record of one model."""

    name: str
    source: str
    """Where the checkpoint lay when it was added: engines for another runtime are built from there."""
    files: tuple[Kept, ...]
    kept: str
    """sha256 of what is kept of all files, one after the other."""
    sizes: Sizes
    added_ms: int
    adapters: tuple[AdapterRecord, ...] = ()
    """Merged into the weights, in this order."""
    step_cache: float = 0.0
    """`Capabilities.step_cache`: what was chosen for these weights."""

    @property
    def digest(self) -> str:
        """Of the checkpoint, whole, and of the adapters."""
        return self.recorded.digest

    @property
    def recorded(self) -> models.Recorded:
        """What engines are built of."""
        return models.Recorded({file.name: file.sha256 for file in self.files}, self.adapters)

    def opened(self, kept: bytes) -> models.Model:
        """The model, of what is kept of its files. Raises `EngineCorrupt`, `CheckpointUnfit`.

        Of weights the headers are kept; any other file is whole, and is what its digest says. The record is signed by
        nobody, but its digests are those that signed engines are found by.
        """
        parts, at = {}, 0
        for file in self.files:
            part = kept[file.begin : file.end]
            whole = len(part) == file.size and keys.digest_of(part) == file.sha256
            header = file.name.endswith(".safetensors") and len(part) <= file.size
            if file.begin != at or file.end != at + len(part) or not (whole or header):
                key = layout.model_key(self.name)
                raise EngineCorrupt(f"{key}: {file.name} has another digest: {_again(self.name)}")
            parts[file.name], at = part, file.end
        held = Held(parts, sizes={file.name: file.size for file in self.files})
        return models.opened(held, name=self.name, sizes=self.sizes, recorded=self.recorded, step_cache=self.step_cache)

    def to_json(self) -> bytes:
        """The record's bytes."""
        canvases = [[canvas.aspect_ratio, canvas.height, canvas.width] for canvas in self.sizes.canvases]
        value = {
            "format": FORMAT,
            "name": self.name,
            "source": self.source,
            "files": [vars(file) for file in self.files],
            "kept": self.kept,
            "canvases": canvases,
            "seconds": self.sizes.seconds,
            "added_ms": self.added_ms,
            **({"adapters": [adapter.to_json() for adapter in self.adapters]} if self.adapters else {}),
            **({"step_cache": self.step_cache} if self.step_cache else {}),
        }
        return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, *, name: str) -> Self:
        """The inverse. Raises `EngineCorrupt` for what is no record of this model."""
        where = layout.model_key(name)
        try:
            value = json.loads(data)
            if value["format"] != FORMAT:
                raise EngineCorrupt(f"{where}: format {value['format']}; this version of longtake reads {FORMAT}")
            found = cls(
                name=str(value["name"]),
                source=str(value["source"]),
                files=tuple(_kept(file) for file in value["files"]),
                kept=str(value["kept"]),
                sizes=Sizes(tuple(_canvas(*canvas) for canvas in value["canvases"]), int(value["seconds"])),
                added_ms=int(value["added_ms"]),
                adapters=tuple(AdapterRecord.from_json(adapter) for adapter in value.get("adapters", ())),
                step_cache=_threshold(value.get("step_cache", 0.0)),
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
            if isinstance(error, EngineCorrupt):
                raise
            raise EngineCorrupt(f"{where}: not the record of a model ({error!r}): {_again(name)}") from error
        if found.name != name:
            raise EngineCorrupt(f"{where}: the record of {found.name}: {_again(name)}")
        return found


class AddedModels:
    """Those of one object store."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def names(self) -> list[str]:
        """Of all of them, sorted."""
        found = [layout.model_in(key) async for key in self._objects.keys(layout.MODELS)]
        return sorted([name for name in found if name and await self._is_there(name)])

    async def standing_on(self, base: str) -> list[str]:
        """The models that are this one with adapters."""
        return [name for name in await self.names() if name != base and layout.base_of(name) == base]

    async def get(self, name: str) -> Added | None:
        """The record of one. Raises `EngineCorrupt`."""
        data = await self._record(name)
        return None if data is None else Added.from_json(data, name=name)

    async def open(self, name: str) -> models.Model | None:
        """One, to be served; None where it was not added. Raises `EngineCorrupt`, `CheckpointUnfit`."""
        added = await self.get(name)
        return None if added is None else added.opened(await self.kept(added))

    async def kept(self, added: Added) -> bytes:
        """What is kept of its files, checked. Raises `EngineCorrupt`."""
        key = layout.model_files_key(added.name, added.kept)
        kept = await self._objects.get(key, limit=KEPT_BYTES)
        if kept is None or keys.digest_of(kept.data) != added.kept:
            raise EngineCorrupt(f"{key}: not what the model's record says: {_again(added.name)}")
        return kept.data

    async def put(self, added: Added, kept: bytes) -> bool:
        """Add one; False where there is one of this name."""
        await self._objects.keep(layout.model_files_key(added.name, added.kept), kept)
        return await tombstones.put(self._objects, layout.model_key(added.name), added.to_json(), limit=RECORD_BYTES)

    async def move(self, added: Added) -> None:
        """Its files lie now where this record says. Nothing happens where it was removed."""
        new = json.loads(added.to_json())
        await self._change(added.name, {name: new[name] for name in ("source", "adapters") if name in new})

    async def cache_steps(self, name: str, threshold: float) -> bool:
        """Videos that are asked for from now on reuse predictions that far, 0 to compute every step. False where there
        is no such model. Raises `ValueError` for what is no threshold."""
        return await self._change(name, {"step_cache": _threshold(threshold)})

    async def remove(self, name: str) -> bool:
        """Remove one; False where there is none. Its engines stay; the collector takes its files."""
        return await tombstones.remove(self._objects, layout.model_key(name), limit=RECORD_BYTES) is not None

    async def _change(self, name: str, fields: Mapping[str, Any]) -> bool:
        """Fields of a record, whatever else a later version says there; False where there is none."""
        key = layout.model_key(name)
        while (there := await self._objects.get(key, limit=RECORD_BYTES)) is not None:
            if tombstones.is_one(there.data):
                return False
            changed = json.dumps({**json.loads(there.data), **fields}, indent=1, sort_keys=True) + "\n"
            if await self._objects.replace(key, changed.encode(), there.version):
                return True
        return False

    async def _is_there(self, name: str) -> bool:
        try:
            return await self._record(name) is not None
        except EngineCorrupt:  # it is, and whoever opens it is told what is wrong with it
            return True

    async def _record(self, name: str) -> bytes | None:
        if not layout.is_model_name(name):
            return None
        return await tombstones.get(self._objects, layout.model_key(name), limit=RECORD_BYTES)


def _canvas(aspect_ratio: str, height: int, width: int) -> Canvas:
    return Canvas(str(aspect_ratio), int(height), int(width))


def _threshold(value: float) -> float:
    least, most = step_cache.BOUNDS
    if value and not least < value < most:
        raise ValueError(f"step_cache: {value}; above {least:g} and below {most:g}, or 0 to compute every step")
    return float(value)


def _kept(value: Mapping[str, Any]) -> Kept:
    return Kept(str(value["name"]), int(value["size"]), str(value["sha256"]), int(value["begin"]), int(value["end"]))


def _again(name: str) -> str:
    return f"`longtake models rm {name}`, and add it again"
