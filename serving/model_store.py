"""The models of an installation: those that ship, and those that were added to its store.

Whoever needs a family by name asks at its start: front door, Director, PromptWriter and stages, which need none of the
runtimes for that. `longtake models` adds and removes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engines import models
from engines.added import AddedModels
from engines.checkpoints.files import Files
from serving.checkpoint_source import opened_checkpoint
from serving.engine_objects import EngineObjects, known_errors
from serving.errors import SettingsError
from serving.store.base import Store


def added(store: Store) -> AddedModels:
    """The models that were added to this store."""
    return AddedModels(EngineObjects(store))


async def known(name: str, store: Store) -> models.Models:
    """The models that ship, and this one, if it was added. Raises `SettingsError` for one that is not known."""
    model = await find(name, store)
    return models.Models(added=[] if models.ships(name) else [model])


async def find(name: str, store: Store) -> models.Model:
    """One that ships, by name or alias, or was added. Raises `SettingsError` for one that is not known."""
    if models.ships(name):
        return models.find(name)
    with known_errors():
        model = await added(store).open(name)
        there = [] if model else [*(shipped.name for shipped in models.all_models()), *await added(store).names()]
    if model is None:
        raise SettingsError(
            f"setting `model`: {name!r} is not known; there is {', '.join(there)}, and `longtake models add` adds one"
        )
    return model


@asynccontextmanager
async def weights_of(model: models.Model, store: Store) -> AsyncIterator[Files]:
    """A model's weights: the package's, or where they lay when it was added. Raises `CheckpointUnfit`, `StoreUnfit`."""
    record = None if models.ships(model.name) else await added(store).get(model.name)
    if record is None:
        yield model.weights
        return
    async with opened_checkpoint(record.source) as files:
        yield files
