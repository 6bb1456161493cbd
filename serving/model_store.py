"""The models of an installation: those that ship, and those that were added to its store.

Whoever needs a family by name asks at its start: front door, Director, PromptWriter and stages, which need none of the
runtimes for that. `longtake models` adds and removes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from engines import models
from engines.added import Added, AddedModels
from engines.checkpoints.adapters import AdapterFile
from engines.checkpoints.files import Files
from engines.objects import base_of
from serving.checkpoint_source import opened_adapter, opened_checkpoint
from serving.engine_objects import EngineObjects, known_errors
from serving.errors import ModelUnknown
from serving.store.base import Store


@dataclass(frozen=True)
class Sources:
    """Where a model's weights are, open."""

    files: Files
    """Of its checkpoint, or of the package."""
    adapters: tuple[AdapterFile, ...] = ()
    """Those that it was added with, in their order."""


def added(store: Store) -> AddedModels:
    """The models that were added to this store."""
    return AddedModels(EngineObjects(store))


async def known(name: str, store: Store) -> models.Models:
    """The models that ship, and this one, if it was added. Raises `ModelUnknown`."""
    model = await find(name, store)
    return models.Models(added=[] if models.ships(name) else [model])


async def find(name: str, store: Store) -> models.Model:
    """One that ships, by name or alias, or was added. Raises `ModelUnknown`."""
    if models.ships(name):
        return models.find(name)
    with known_errors():
        model = await added(store).open(name)
        there = [] if model else [*(shipped.name for shipped in models.all_models()), *await added(store).names()]
    if model is None:
        raise ModelUnknown(name, there)
    return model


async def register(store: Store, new: Added, kept: bytes) -> None:
    """Put the record of a model whose engines are there. Where it is registered already, its files are now where this
    record says. Raises `ValueError` where another model has its name."""
    while not await added(store).put(new, kept):
        there = await added(store).get(new.name)
        if there is not None:
            demand_same(there, new)
            await added(store).move(new)
            return


def demand_same(there: Added | None, new: Added) -> None:
    """Raise `ValueError` unless the model that has the name, if any, is this one."""
    if there is not None and (there.digest, there.sizes) != (new.digest, new.sizes):
        what = "other adapters, or other scales of them" if new.adapters else "another checkpoint, or other sizes"
        raise ValueError(
            f"name: {new.name!r} is there with {what}: choose another name, or `longtake models rm {new.name}` first"
        )


@asynccontextmanager
async def sources_of(model: models.Model, store: Store) -> AsyncIterator[Sources]:
    """A model's weights: the package's, or where they lay when it was added. Raises `CheckpointUnfit`, `StoreUnfit`."""
    record = None if models.ships(model.name) else await added(store).get(model.name)
    if record is None:
        yield Sources(model.weights)
        return
    async with opened_sources(record, store) as found:
        yield found


@asynccontextmanager
async def opened_sources(record: Added, store: Store) -> AsyncIterator[Sources]:
    """The same for a record. A checkpoint that has moved since lies where its base's record says."""
    base = await added(store).get(base_of(record.name))
    async with AsyncExitStack() as stack:
        files = await stack.enter_async_context(opened_checkpoint((base or record).source))
        adapters = [await stack.enter_async_context(opened_adapter(one.source)) for one in record.adapters]
        yield Sources(files, tuple(adapters))
