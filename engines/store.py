"""Where engines are kept, in layers: those shipped in the package, and those built here.

    prebuilt   a read-only folder of the package: manifest.json, and each engine as <component><suffix of its runtime>
    built      any object store with `get` and `put_if_absent`, under `engines/`

`session.py` loads from it, `building/build.py` publishes to it. Every engine's bytes are checked against the
manifest's digest before anything reads them. A layer counts only for the weights it was built from: after a
training run the prebuilt engines are stale, and are not used.

    engines/<model>/<weights digest>/manifest-<format>.json     published last: engines without it do not exist
    engines/blobs/<sha256>                                      an engine's bytes
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from engines.errors import EngineCorrupt, EngineNotBuilt, EngineUnfit
from engines.key import digest_of
from engines.manifest import FORMAT, EngineEntry, Manifest, missing_message
from engines.runtimes.registry import SHIPPED, Runtimes

LayerName = Literal["prebuilt", "built"]


class HasData(Protocol):
    """What an object store returns."""

    @property
    def data(self) -> bytes:
        """The object's bytes."""


class Objects(Protocol):
    """The two methods that engines need of a store; `serving.store` has them."""

    async def get(self, key: str) -> HasData:
        """The object. Raises the store's own error when it is absent."""

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create the object; False when it is there already."""


class Prebuilt:
    """The read-only layer: a folder."""

    name: LayerName = "prebuilt"

    def __init__(self, folder: Path, *, runtimes: Runtimes = SHIPPED) -> None:
        """`runtimes` know the suffix of each engine's file."""
        self.folder = folder
        self._runtimes = runtimes

    def manifest(self, model: str, weights_digest: str | None) -> Manifest | None:
        """The manifest, if the folder has one for this model and (unless None) these weights."""
        path = self.folder / "manifest.json"
        if not path.is_file():
            return None
        found = Manifest.from_json(path.read_bytes(), where=str(path))
        if found.model != model or (weights_digest is not None and found.weights_digest != weights_digest):
            return None
        return found

    def read(self, entry: EngineEntry) -> bytes:
        """An engine's bytes, checked. Raises `EngineNotBuilt` or `EngineCorrupt`."""
        path = self.path(entry)
        if not path.is_file():
            raise EngineNotBuilt(f"{path}: {missing_message(entry.spec.model, f'engine {entry.component!r}')}")
        return _checked(path.read_bytes(), entry, str(path))

    def publish(self, manifest: Manifest, blobs: Mapping[str, bytes]) -> None:
        """Replace the folder's engines. For maintainers: the folder is read-only where Longtake is installed.

        Until the manifest is replaced, last, readers find digests that do not match, and refuse.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for entry in manifest.engines:
            _replace(self.path(entry), _checked(blobs[entry.component], entry, entry.component))
        _replace(self.folder / "manifest.json", manifest.to_json())

    def path(self, entry: EngineEntry) -> Path:
        """An engine's file. Raises `EngineError` for a runtime that is not known here."""
        return self.folder / f"{entry.component}{self._runtimes.find(entry.spec.runtime).suffix}"


class Built:
    """The writable layer: an object store."""

    name: LayerName = "built"

    def __init__(self, objects: Objects, *, absent: type[Exception]) -> None:
        """`absent` is what `objects.get` raises for a key that is not there."""
        self._objects = objects
        self._absent = absent

    async def manifest(self, model: str, weights_digest: str) -> Manifest | None:
        """The manifest of the engines that were built here from these weights."""
        key = _manifest_key(model, weights_digest)
        try:
            data = (await self._objects.get(key)).data
        except self._absent:
            return None
        return Manifest.from_json(data, where=key)

    async def read(self, entry: EngineEntry) -> bytes:
        """An engine's bytes, checked. Raises `EngineNotBuilt` or `EngineCorrupt`."""
        key = _blob_key(entry.sha256)
        try:
            data = (await self._objects.get(key)).data
        except self._absent as error:
            raise EngineNotBuilt(missing_message(entry.spec.model, f"engine {entry.component!r}")) from error
        return _checked(data, entry, key)

    async def publish(self, manifest: Manifest, blobs: Mapping[str, bytes]) -> None:
        """Publish a set of engines: its bytes first, its manifest last, and all or nothing.

        Raises `EngineUnfit` when other engines of these weights are there: what was published never changes.
        """
        for entry in manifest.engines:
            await self._objects.put_if_absent(
                _blob_key(entry.sha256), _checked(blobs[entry.component], entry, entry.component)
            )
        key = _manifest_key(manifest.model, manifest.weights_digest)
        if await self._objects.put_if_absent(key, manifest.to_json()):
            return
        there = await self.manifest(manifest.model, manifest.weights_digest)
        if there is not None and there.digest != manifest.digest:
            raise EngineUnfit(
                f"{key}: other engines of these weights are published there ({there.digest[:12]}, not "
                f"{manifest.digest[:12]}), exported with {there.verified_with}: use them, or another store"
            )


@dataclass(frozen=True)
class Found:
    """A model's engines, and the layer that holds them."""

    manifest: Manifest
    layer: Prebuilt | Built

    async def read(self, entry: EngineEntry) -> bytes:
        """An engine's bytes, checked against its digest. Raises `EngineNotBuilt` or `EngineCorrupt`."""
        if isinstance(self.layer, Prebuilt):
            return await asyncio.to_thread(self.layer.read, entry)
        return await self.layer.read(entry)


class EngineStore:
    """Both layers, looked through in order."""

    def __init__(self, prebuilt: Prebuilt | None = None, built: Built | None = None) -> None:
        self.prebuilt = prebuilt
        self.built = built

    async def find(self, model: str, weights_digest: str | None) -> Found:
        """A model's engines. `weights_digest` None: those of the package, whatever their weights.

        Raises `EngineNotBuilt`, which names the command that builds them.
        """
        if self.prebuilt is not None:
            manifest = await asyncio.to_thread(self.prebuilt.manifest, model, weights_digest)
            if manifest is not None:
                return Found(manifest, self.prebuilt)
        if self.built is not None and weights_digest is not None:
            manifest = await self.built.manifest(model, weights_digest)
            if manifest is not None:
                return Found(manifest, self.built)
        raise EngineNotBuilt(missing_message(model, "engines"))


def _checked(data: bytes, entry: EngineEntry, where: str) -> bytes:
    if len(data) != entry.size or digest_of(data) != entry.sha256:
        raise EngineCorrupt(
            f"{where}: not the engine that the manifest names ({len(data)} bytes of {entry.size}, or another "
            f"digest): install longtake again; in a checkout, `longtake engines build --model "
            f"{entry.spec.model} --into prebuilt`"
        )
    return data


def _manifest_key(model: str, weights_digest: str) -> str:
    return f"engines/{model}/{weights_digest}/manifest-{FORMAT}.json"


def _blob_key(sha256: str) -> str:
    return f"engines/blobs/{sha256}"


def _replace(path: Path, data: bytes) -> None:
    """Replace a file as a whole."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
