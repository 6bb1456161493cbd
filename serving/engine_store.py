"""The engines of an installation: where a model's are looked for, whether they are there, and how they are loaded.

The front door asks for their digests, `up` and `doctor` check them before anything starts, the stages and `reproduce`
load them. `engines` has errors of its own: here, and nowhere else, they become the one that this side knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from engines import models
from engines.errors import EngineError
from engines.session import Session, open_found
from engines.store import Built, EngineStore, Found, Prebuilt
from serving.errors import EngineMissing, NotFound, SettingsError
from serving.store.base import Store


def built(store: Store) -> Built:
    """The engines that were built into this store."""
    return Built(store, absent=NotFound)


async def find(model: models.Model, store: Store) -> Found:
    """A model's engines: in the package, else among those built into this store. Raises `EngineMissing`."""
    with _known_errors():
        return await EngineStore(Prebuilt(model.prebuilt), built(store)).find(model.name, model.weights_digest())


async def check(name: str, store: Store) -> Found:
    """The same for a model's name or alias, each engine read and its digest checked.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    model = _model(name)
    found = await find(model, store)
    with _known_errors():
        for component in model.family.components:
            await found.read(found.manifest.entry(component))
    return found


async def load(name: str, store: Store, *, threads: int, components: Sequence[str] | None = None) -> Session:
    """Load a model's engines, or only those `components` of it, their digests checked; `threads` 0 is one per core.

    Raises `SettingsError` for a model that is not known, `EngineMissing`.
    """
    model = _model(name)
    found = await find(model, store)
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
