"""The models that the Director's replica serves: found by the names that its configuration has.

That is told when the replica starts, and again whenever a model comes or goes (`declared.py`): nothing is started anew
for it. A model that cannot be opened, as the store does not answer or has it not, is tried again and again, and holds
up no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

from serving import model_store
from serving.deployments.declared import application_of
from serving.deployments.handles import HandleStages
from serving.director.served import Served
from serving.errors import LongtakeError
from serving.logs import logger
from serving.stage_names import StageName
from serving.stages.contracts import INGESTS_AT_ONCE, RENDERS_AT_ONCE
from serving.store.base import Store

_AGAIN_S = 5.0
_LOOK_EVERY_S = 1.0

_log = logger("director")


class Told(TypedDict):
    """What the configuration says of a model."""

    slots: int
    denoisers: int
    renderers: int
    conditioners: NotRequired[int]
    """An operator of an earlier version does not say it."""
    kept: list[StageName]
    """Stages that always have a replica."""


class DirectorModels:
    """Of one replica. `on_change` is told of those that could be opened, by the names that jobs have for them."""

    def __init__(self, store: Store, on_change: Callable[[Mapping[str, Served]], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._told: Mapping[str, Told] = {}
        self._opened: dict[str, tuple[str, HandleStages, Any]] = {}
        """By the name in the settings, which may be an alias: the model's own, its stages and its family."""
        self._again: asyncio.Task[None] | None = None

    async def tell(self, models: Mapping[str, Told]) -> None:
        """These from now on, and no others."""
        self._told = models
        if self._again is not None:
            self._again.cancel()
        if not await self._open():
            self._again = asyncio.create_task(self._open_later(), name="models")

    def said(self, model: str) -> str:
        """How the settings call a model."""
        return next(said for said, (name, _, _) in self._opened.items() if name == model and said in self._told)

    async def up(self) -> None:
        """Return when each stage that always has a replica has one whose engines are loaded."""
        while True:
            counts = {said: await stages.replicas() for said, (_, stages, _) in self._opened.items()}
            if all(counts.get(said, {}).get(stage) for said, told in self._told.items() for stage in told["kept"]):
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _open_later(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN_S)
            if await self._open():
                return

    async def _open(self) -> bool:
        """Open those that are not open yet, and tell of all that are. Whether that is all."""
        for said in self._told.keys() - self._opened.keys():
            try:
                family = (await model_store.find(said, self._store)).family
            except (LongtakeError, ValueError) as error:
                _log.error("the model is not served: it cannot be opened", model=said, reason=str(error))
                continue
            name = family.capabilities.model
            if twin := [other for other, (its, _, _) in self._opened.items() if its == name and other in self._told]:
                _log.error("the model is not served: it is served by another name", model=said, other=twin[0])
                continue
            self._opened[said] = (name, HandleStages(application_of(said)), family)
        served = {
            name: Served(
                stages,
                family,
                slots=self._told[said]["slots"],
                denoisers=self._told[said]["denoisers"],
                renders=self._told[said]["renderers"] * RENDERS_AT_ONCE,
                ingests=self._told[said].get("conditioners", 1) * INGESTS_AT_ONCE,
            )
            for said, (name, stages, family) in self._opened.items()
            if said in self._told
        }
        self._on_change(served)
        return len(served) == len(self._told)
