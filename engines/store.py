"""Where engines are kept, in layers: those shipped in the package, and those built here.

    prebuilt   a read-only folder of the package: manifest.json, and each engine as <component><suffix of its runtime>
    built      an object store, under `engines/` (`objects.py` has the keys); weights beside engines come from there
               into a folder of this machine (`weights.py`)

`session.py` loads from it, `building/build.py` publishes to it. Every engine's bytes are checked against the
manifest's digest before anything reads them. The package is trusted as its code is, for the same hands brought both;
what lies in a store is read only when somebody signed it who is trusted here (`signatures.py`). A layer counts only for
the weights it was built from: after a training run the prebuilt engines are stale, and are not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from engines import blobs, tombstones
from engines import objects as layout
from engines.errors import EngineCorrupt, EngineNotBuilt, EngineUnfit, EngineUntrusted, EngineUnverified
from engines.kept import Kept
from engines.key import digest_of
from engines.manifest import EngineEntry, Manifest, missing_message, unverified_message
from engines.objects import MANIFEST_BYTES, Objects
from engines.replacing import PARTIAL, written
from engines.runtimes.registry import SHIPPED, Runtimes
from engines.signatures import Signatures
from engines.signing import PublicKey, SigningKey
from engines.trust import TrustedKeys
from engines.weights import Weights, WeightsFile, WeightsFolder

LayerName = Literal["prebuilt", "built"]


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

    def check_names(self, manifest: Manifest) -> None:
        """Raise `EngineCorrupt` when the folder holds a file that the manifest does not name."""
        named = {self.folder / "manifest.json", *(self.path(entry) for entry in manifest.engines)}
        for file in sorted(self.folder.iterdir()):
            if file not in named and file.suffix != PARTIAL:
                raise EngineCorrupt(f"{file}: not in the manifest of its engines: find out whose it is, and remove it")

    def read(self, entry: EngineEntry) -> bytes:
        """An engine's bytes, checked. Raises `EngineNotBuilt` or `EngineCorrupt`."""
        path = self.path(entry)
        if not path.is_file():
            raise EngineNotBuilt(f"{path}: {missing_message(entry.spec.model, f'engine {entry.component!r}')}")
        return _checked(path.read_bytes(), entry, str(path))

    def publish(self, manifest: Manifest, engines: Mapping[str, bytes]) -> None:
        """Replace the folder's engines. For maintainers: the folder is read-only where Longtake is installed.

        Until the manifest is replaced, last, readers find digests that do not match, and refuse.
        """
        if any(entry.weights for entry in manifest.engines):
            raise EngineUnfit("a package has engines with their weights inside alone: build these into a store")
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {
            self.path(entry): _checked(engines[entry.component], entry, entry.component) for entry in manifest.engines
        }
        manifest_file = self.folder / "manifest.json"
        with written({**files, manifest_file: manifest.to_json()}) as partials:
            for file in self.folder.iterdir():
                if file not in files and file not in partials.values() and file != manifest_file:
                    file.unlink()  # of other engines, or of a build that was killed
            for file, partial in partials.items():  # the manifest comes last
                partial.replace(file)

    def path(self, entry: EngineEntry) -> Path:
        """An engine's file. Raises `EngineError` for a runtime that is not known here."""
        return self.folder / f"{entry.component}{self._runtimes.find(entry.spec.runtime).suffix}"


class Built:
    """The writable layer: an object store."""

    name: LayerName = "built"

    def __init__(
        self,
        objects: Objects,
        trusted: TrustedKeys,
        *,
        key: SigningKey | None = None,
        weights: WeightsFolder | None = None,
    ) -> None:
        """Engines are read when somebody of `trusted` signed them; `key` signs those that are published. Weights that
        lie beside engines come into the folder `weights`; without one, such engines are not built or loaded."""
        self.objects = objects
        self.weights_folder = weights
        self.signatures = Signatures(objects, trusted)
        self._key = key

    async def manifest(self, model: str, set_name: str, *, verified: bool = True) -> Manifest | None:
        """The manifest of the engines that were built here from these weights; or of those that nobody verified yet.

        Raises `EngineUntrusted` when nobody who is trusted here signed it, `EngineCorrupt`.
        """
        data = await self.manifest_bytes(model, set_name, verified=verified)
        if data is None:
            return None
        await self.signer(model, set_name, data)
        return self.parse(model, set_name, data, verified=verified)

    async def manifest_bytes(self, model: str, set_name: str, *, verified: bool = True) -> bytes | None:
        """As they lie there, whoever wrote them; None where there is no manifest, or it was removed."""
        key = _key(model, set_name, verified=verified)
        data = await self.objects.get_range(key, 0, MANIFEST_BYTES + 1)
        if data is not None and len(data) > MANIFEST_BYTES:
            raise EngineCorrupt(layout.too_large(key, MANIFEST_BYTES))
        return None if data is None or tombstones.is_one(data) else data

    async def signer(self, model: str, set_name: str, data: bytes) -> PublicKey:
        """Who is trusted here and signed these bytes. Raises `EngineUntrusted`; `EngineCorrupt` for a stray object."""
        await self.signatures.check_names(model, set_name)
        return await self.signatures.signer(model, set_name, data)

    def parse(self, model: str, set_name: str, data: bytes, *, verified: bool = True) -> Manifest:
        """What the bytes say. Raises `EngineCorrupt`, also for the manifest of something else: a signature says nothing
        of the place where it is found."""
        key = _key(model, set_name, verified=verified)
        found = Manifest.from_json(data, where=key, verified=verified)
        if (found.model, found.set_name) != (model, set_name):
            raise EngineCorrupt(
                f"{key}: the manifest of {found.model}, weights {found.set_name[:12]}, in another's place: "
                f"`longtake engines rm --model {model}` and build again"
            )
        return found

    async def read(self, entry: EngineEntry) -> bytes:
        """An engine's bytes, checked as they come in. Raises `EngineNotBuilt` or `EngineCorrupt`."""
        return await blobs.read(
            self.objects,
            entry.sha256,
            entry.size,
            absent=EngineNotBuilt(missing_message(entry.spec.model, f"engine {entry.component!r}")),
            wrong=lambda size: EngineCorrupt(_not_the_engine(layout.blob_key(entry.sha256), size, entry)),
        )

    async def weights(self, entry: EngineEntry) -> Weights | None:
        """The files beside an engine, brought here and checked; None where it has none.

        Raises `EngineNotBuilt` or `EngineCorrupt`.
        """
        if not entry.weights:
            return None
        folder = self._folder(entry)
        for file in entry.weights:
            key = layout.blob_key(file.sha256)
            await folder.hold(file, partial(self._chunk, entry, key), where=key)
        return Weights(folder.path, entry.weights)

    async def look(self, entry: EngineEntry) -> None:
        """Whether the files beside an engine are there, by their sizes: nothing is fetched. Raises as `weights`."""
        for file in entry.weights:
            key = layout.blob_key(file.sha256)
            size = await self.objects.size(key)
            if size is None:
                raise EngineNotBuilt(missing_message(entry.spec.model, f"weights of engine {entry.component!r}"))
            if size != file.size:
                raise EngineCorrupt(
                    f"{key}: {size} bytes, and the manifest names weights of {file.size}: remove these engines with "
                    f"`longtake engines rm --model {entry.spec.model}`, and build them again"
                )

    async def _chunk(self, entry: EngineEntry, key: str, start: int, length: int) -> bytes:
        found = await self.objects.get_range(key, start, length)
        if found is None:
            raise EngineNotBuilt(missing_message(entry.spec.model, f"weights of engine {entry.component!r}"))
        return found

    def _folder(self, entry: EngineEntry) -> WeightsFolder:
        if self.weights_folder is None:
            raise EngineNotBuilt(f"engine {entry.component!r} has weights beside it, and there is no folder for them")
        return self.weights_folder

    async def publish(
        self, manifest: Manifest, engines: Mapping[str, bytes], papers: Mapping[str, bytes] | None = None
    ) -> None:
        """Publish a set of engines, signed: bytes, papers, the signature, and its manifest last, all or nothing.

        Engines that nobody verified have another place, where no stage looks. Raises `EngineUntrusted` without a key,
        `EngineUnfit` when other engines of these weights are there: what was published never changes.
        """
        if self._key is None:
            raise EngineUntrusted("engines in a store are signed, and there is no key: `longtake engines keygen`")
        for entry in manifest.engines:
            data = _checked(engines[entry.component], entry, entry.component)
            for file in entry.weights:
                await self._keep_weights(entry, file)
            await self.objects.keep(layout.blob_key(entry.sha256), data)
        await blobs.keep_papers(self.objects, manifest.papers, papers or {})
        model, name, data = manifest.model, manifest.set_name, manifest.to_json()
        await self.signatures.add(model, name, data, self._key)
        key = _key(model, name, verified=manifest.verified)
        while not await tombstones.put(self.objects, key, data, limit=MANIFEST_BYTES):
            there = await self.manifest(model, name, verified=manifest.verified)
            if there is not None and there.digest != manifest.digest:
                raise EngineUnfit(
                    f"{key}: other engines of these weights are published there "
                    f"({there.digest[:12]}, not {manifest.digest[:12]}), exported with {there.verified_with}: use "
                    f"them, or `longtake engines rm --model {model}` and build again"
                )
            if there is not None:
                return

    async def _keep_weights(self, entry: EngineEntry, file: WeightsFile) -> None:
        folder = self._folder(entry)
        if not await asyncio.to_thread(folder.intact, file):
            raise EngineCorrupt(f"{folder.file(file)}: not the weights that were built: build the engines again")
        await self.objects.keep(layout.blob_key(file.sha256), folder.file(file))

    async def sets(self) -> list[tuple[str, str]]:
        """Model and name of every set, whoever made it."""
        found: dict[tuple[str, str], None] = {}
        async for key in self.objects.keys(layout.ENGINES):
            part = layout.read_set_key(key)
            if part is not None and key in _keys(part.model, part.set_name):
                found[part.model, part.set_name] = None
        return list(found)

    async def remove(self, model: str, set_name: str) -> str | None:
        """Engines that do not exist from now on. The digest of their manifest; None where there is none.

        The collector takes their bytes.
        """
        keys = _keys(model, set_name)
        removed = [await tombstones.remove(self.objects, key, limit=MANIFEST_BYTES) for key in keys]
        return next((digest_of(data) for data in removed if data is not None), None)


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

    async def weights(self, entry: EngineEntry) -> Weights | None:
        """The files beside an engine, here and checked; None where it has none. Raises as `read`."""
        if isinstance(self.layer, Built):
            return await self.layer.weights(entry)
        if entry.weights:
            raise EngineCorrupt(f"{self.layer.folder}: engines with weights beside them: install longtake again")
        return None

    def kept(self, entry: EngineEntry) -> Kept | None:
        """Where what a runtime makes of an engine may be kept on this machine; None where there is no folder."""
        folder = self.layer.weights_folder if isinstance(self.layer, Built) else None
        return Kept(folder, entry.sha256) if folder else None

    async def paper(self, name: str) -> bytes | None:
        """What lies beside the engines under this name (`blobs.py`); None where nothing does. Raises as `read`."""
        file = self.manifest.papers.get(name)
        if file is None or isinstance(self.layer, Prebuilt):
            return None
        return await blobs.read_paper(self.layer.objects, file)

    async def look(self, entry: EngineEntry) -> None:
        """Whether the files beside an engine are there, and nothing is fetched. Raises as `read`."""
        if isinstance(self.layer, Built):
            await self.layer.look(entry)
        else:
            await self.weights(entry)


class EngineStore:
    """Both layers, looked through in order."""

    def __init__(self, prebuilt: Prebuilt | None = None, built: Built | None = None) -> None:
        self.prebuilt = prebuilt
        self.built = built

    async def find(
        self, model: str, weights_digest: str | None, variant: str = "", *, unverified: bool = False
    ) -> Found:
        """A model's engines. `weights_digest` None: those of the package, whatever their weights.

        Without a `variant` they are those of the package, whatever they are for, or else the usual ones of the store.
        Raises `EngineNotBuilt`, which names the command that builds them. Those that were compiled and never verified
        are found if `unverified` are asked for; else they are an `EngineUnverified`.
        """
        if self.prebuilt is not None:
            manifest = await asyncio.to_thread(self.prebuilt.manifest, model, weights_digest)
            if manifest is not None and variant in ("", manifest.variant):
                await asyncio.to_thread(self.prebuilt.check_names, manifest)
                return Found(manifest, self.prebuilt)
        if self.built is not None and weights_digest is not None:
            name = layout.set_name(weights_digest, variant or layout.USUAL)
            manifest = await self.built.manifest(model, name)
            if manifest is not None:
                return Found(manifest, self.built)
            compiled = await self.built.manifest(model, name, verified=False)
            if compiled is not None and not unverified:
                raise EngineUnverified(unverified_message(compiled))
            if compiled is not None:
                return Found(compiled, self.built)
        raise EngineNotBuilt(missing_message(model, "engines", variant or layout.USUAL))


def _key(model: str, set_name: str, *, verified: bool) -> str:
    return (layout.manifest_key if verified else layout.compiled_key)(model, set_name)


def _keys(model: str, set_name: str) -> tuple[str, str]:
    return layout.manifest_key(model, set_name), layout.compiled_key(model, set_name)


def _checked(data: bytes, entry: EngineEntry, where: str) -> bytes:
    if len(data) != entry.size or digest_of(data) != entry.sha256:
        raise EngineCorrupt(_not_the_engine(where, len(data), entry))
    return data


def _not_the_engine(where: str, size: int, entry: EngineEntry) -> str:
    return (
        f"{where}: not the engine that the manifest names ({size} bytes of {entry.size}, or another digest): install "
        f"longtake again; in a checkout, `longtake engines build --model {entry.spec.model} --into prebuilt`; in a "
        f"store, `longtake engines rm --model {entry.spec.model}` and build again"
    )
