"""What a stage stands on: a model's loaded engines and the store. Made once per replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineAway, EngineSilent
from engines.families.base import Array, EngineCall, Family
from engines.families.base import Engines as Engine
from engines.session import Session
from serving import engine_store
from serving.errors import FailedPrecondition
from serving.metrics import DEVICE_MEMORY, ENGINE_BUSY_SECONDS, ENGINE_SECONDS, Recorder
from serving.settings import Engines
from serving.stage_names import StageName
from serving.stages.contracts import StageAway, StageLost
from serving.stages.threads import Stop, stoppable
from serving.stages.watchdog import Watchdog
from serving.store.base import Store
from serving.store.blobs import Blobs


@dataclass(frozen=True)
class Loaded:
    """One model's engines, and where its blobs lie. Implements `families.base.Engines`, and measures each call."""

    session: Session
    store: Store
    metrics: Recorder
    watchdog: Watchdog = field(default_factory=Watchdog)
    """Is told of each call to an engine or a codec."""
    encoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """A clip's encoding holds gigabytes of the VAE's memory: one at a time."""
    stage: StageName | None = None
    """Whose it is, to be named when its engines are away; others may wait for this one's results."""

    def of(self, stage: StageName) -> Loaded:
        """The same, of this stage."""
        return replace(self, stage=stage)

    def family(self, model: str) -> Family:
        """The family of the model that a call names. Raises `FailedPrecondition` when another one is loaded."""
        capabilities = self.session.family.capabilities
        if model != capabilities.model:
            raise FailedPrecondition(
                f"this stage has loaded {capabilities.model}, not {model}: set `model` and start again"
            )
        return self.session.family

    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one engine; see `Session.infer`. Raises `StageAway` and `StageLost` where a server runs it that is not
        there, or does not come back: the stage is as little use then as if it were gone itself."""
        began = time.monotonic()
        with self.watchdog.watching(component):
            try:
                outputs = self.session.infer(component, inputs)
            except EngineAway as away:
                raise StageAway(str(away), stage=self.stage) from away
            except EngineSilent as silent:
                raise StageLost(str(silent), stage=self.stage) from silent
        took = time.monotonic() - began
        model = self.session.family.capabilities.model
        self.metrics.observe(ENGINE_SECONDS, took, model=model, component=component)
        self.metrics.add(ENGINE_BUSY_SECONDS, took, model=model, component=component)
        if (memory := self.session.memory()) is not None:
            self.metrics.set(DEVICE_MEMORY, memory.total - memory.free, model=model, part="used")
            self.metrics.set(DEVICE_MEMORY, memory.total, model=model, part="total")
        return outputs

    async def encode(self, work: Callable[[Engine], Array]) -> Array:
        """The latents of a clip, when no other is encoded here. They end between two calls of an engine for a caller
        that is cancelled."""
        async with self.encoding:
            return await stoppable(lambda stop: work(_Until(self, stop)))

    def blobs(self, tenant: str) -> Blobs:
        """A tenant's blobs and caches."""
        return Blobs(self.store, tenant)


@dataclass(frozen=True)
class _Until:
    """Implements `families.base.Engines`, until it is to stop."""

    loaded: Loaded
    stop: Stop

    def infer(self, component: str, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        self.stop.check()
        return self.loaded.infer(component, inputs)


async def load(
    model: str, store: Store, settings: Engines, *, threads: int, call: EngineCall, metrics: Recorder
) -> Loaded:
    """Load the engines that a stage's call takes, their digests checked; see `engine_store.load`.

    Raises `EngineMissing`, which says what to do.
    """
    session = await engine_store.load(model, store, settings, threads=threads, call=call)
    return Loaded(session, store, metrics)
