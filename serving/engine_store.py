"""The engines of an installation: where a model's are looked for, whether they are there, and how they are loaded.

The front door asks for their digests, `up` and `doctor` check them before anything starts, the stages and `reproduce`
load them. `engines` has errors of its own: here, and nowhere else, they become the one that this side knows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engines import models
from engines.errors import EngineCorrupt, EngineError
from engines.objects import too_large
from engines.session import Session, open_found
from engines.signing import SigningKey
from engines.store import Built, EngineStore, Found, Prebuilt
from engines.trust import TrustedKeys
from serving.errors import Conflict, EngineMissing, NotFound, SettingsError
from serving.store import sweeping
from serving.store.base import Store, Versioned


class EngineObjects:
    """A store as engines see it. Implements `engines.objects.Objects`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, key: str, *, limit: int) -> Versioned | None:
        there = await self._store.stat(key)
        if there is not None and there.size > limit:
            raise EngineCorrupt(too_large(key, limit))
        try:
            return await self._store.get(key)
        except NotFound:
            return None

    async def get_range(self, key: str, start: int, length: int) -> bytes | None:
        try:
            return await self._store.get_range(key, start, length)
        except NotFound:
            return None

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        return await self._store.put_if_absent(key, data)

    async def replace(self, key: str, data: bytes, expected: str) -> bool:
        try:
            await self._store.swap(key, data, expected)
        except (Conflict, NotFound):
            return False
        return True

    async def keep(self, key: str, data: bytes) -> None:
        while True:
            there = await self._store.put_if_absent(key, data) or await self._renewed(key)
            if there and await sweeping.undisturbed(self._store, key):
                return

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        async for entry in self._store.list(prefix):
            yield entry.key

    async def _renewed(self, key: str) -> bool:
        """Make what is there young again; False when it went meanwhile."""
        try:
            await self._store.touch(key)
        except NotFound:
            return False
        return True


def built(store: Store, trusted: Path, *, key: SigningKey | None = None) -> Built:
    """The engines in this store that a key of the file `trusted` signed; `key` signs those that are published."""
    return Built(EngineObjects(store), TrustedKeys(trusted), key=key)


async def find(model: models.Model, store: Store, trusted: Path) -> Found:
    """A model's engines: in the package, else among those built into this store and signed by a key of the file
    `trusted`. Raises `EngineMissing`."""
    with _known_errors():
        layers = EngineStore(Prebuilt(model.prebuilt), built(store, trusted))
        return await layers.find(model.name, model.weights_digest())


async def check(name: str, store: Store, trusted: Path) -> Found:
    """The same for a model's name or alias, each engine read and its digest checked.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    model = _model(name)
    found = await find(model, store, trusted)
    with _known_errors():
        for component in model.family.components:
            await found.read(found.manifest.entry(component))
    return found


async def load(
    name: str, store: Store, trusted: Path, *, threads: int, components: Sequence[str] | None = None
) -> Session:
    """Load a model's engines, or only those `components` of it, their digests checked; `threads` 0 is one per core.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    model = _model(name)
    found = await find(model, store, trusted)
    with _known_errors():
        return await open_found(model.family, found, threads=threads, components=components)


def _model(name: str) -> models.Model:
    try:
        return models.find(name)
    except ValueError as error:
        raise SettingsError(f"setting `model`: {error}") from error


@contextmanager
def _known_errors() -> Iterator[None]:
    """Whatever is wrong with an engine, it is none to serve with: its message says what to do."""
    try:
        yield
    except EngineError as error:
        raise EngineMissing(str(error)) from error
