"""The stages: replicas that come and go, and what a Director sees of them (`serving.stages.interface.Stages`).

Denoiser, Conditioner, TextEncoder and PromptWriter are the shipped ones, with `model.py`'s family. The Renderer is
simulated: its films are a few bytes. A call goes to the replica that it names, if that lives, else to any, and waits
while there is none, as `deployments/router.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from engines.families.base import Array
from engines.session import Session
from serving.media.sandbox import Decoder
from serving.metrics import Unrecorded
from serving.segments.manifest import MediaPart
from serving.stage_names import CONDITIONER, INGEST, PROMPT_WRITER, TEXT_ENCODER, CountedWork, StageName
from serving.stages.by_name import StageCall, StagesByName
from serving.stages.condition import Conditioner
from serving.stages.contracts import (
    AwayCause,
    ImageCall,
    ImageResult,
    RenderCall,
    RenderResult,
    StageAway,
    StageLost,
)
from serving.stages.interface import Ref
from serving.stages.latents import get_latents
from serving.stages.loaded import Loaded
from serving.stages.prompt import PromptWriter
from serving.stages.text import TextEncoder
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.sim import model
from tests.sim.chance import Chance
from tests.sim.loop import SimLoop
from tests.sim.network import Network
from tests.sim.process import Process

T = TypeVar("T")


def loaded(store: Store) -> Loaded:
    """What a stage stands on."""
    return Loaded(cast(Session, model.TinySession()), store, Unrecorded())


def encoders(store: Store, decoder: Decoder) -> dict[CountedWork, Any]:
    """The light stages of one replica."""
    return {
        PROMPT_WRITER: PromptWriter(lambda name: model.FAMILY),
        TEXT_ENCODER: TextEncoder(loaded(store)),
        CONDITIONER: Conditioner(loaded(store), decoder),
    }


class Renderer:
    """A few bytes for a film."""

    def __init__(self, store: Store, chance: Chance, render_s: tuple[float, float]) -> None:
        self._store = store
        self._chance = chance
        self._render_s = render_s

    async def render(self, call: RenderCall, latents: Array) -> RenderResult:
        blobs = Blobs(self._store, call.tenant)
        lead = await get_latents(blobs, call.lead) if call.lead else None
        await asyncio.sleep(self._chance.pause_s(*self._render_s))
        film = model.film(latents, lead, call.start_frame, call.sequence_start)
        frames = model.frames_of(latents, lead)
        blob, init, thumbnail = await asyncio.gather(
            blobs.put(film), blobs.put(repr(call.track).encode()), blobs.put(model.picture(latents))
        )
        part = MediaPart(blob=blob, size=len(film), fragment_sizes=(len(film),), fragment_frames=(frames,))
        return RenderResult(frames=frames, init=init, media=part, thumbnail=thumbnail)

    async def render_image(self, call: ImageCall, latents: Array) -> ImageResult:
        await asyncio.sleep(self._chance.pause_s(*self._render_s))
        return ImageResult(await Blobs(self._store, call.tenant).put(model.picture(latents)), 8, 8)


@dataclass(frozen=True)
class Replica:
    """One that is up."""

    process: Process
    id: str
    stages: Mapping[CountedWork, Any]


class Pool:
    """The replicas of one deployment."""

    def __init__(self, loop: SimLoop, chance: Chance) -> None:
        self.up: list[Replica] = []
        self.away: AwayCause | None = None
        """Why no call is done, whoever is up."""
        self._loop = loop
        self._chance = chance
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, replica: Replica) -> None:
        """It is up."""
        self.up.append(replica)
        replica.process.on_death.append(lambda: self.up.remove(replica))
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def come_back(self) -> None:
        """Calls are done again."""
        self.away = None

    async def choose(self, named: str | None = None) -> Replica:
        """The named one, else any; waits while there is none."""
        while not self.up:
            future = self._loop.create_future()
            self._waiting.append(future)
            await future
        for replica in self.up:
            if replica.id == named:
                return replica
        return self._chance.random.choice(self.up)


class _Promise:
    """A `Ref`: a value that lies with the replica that made it, and is lost with it."""

    def __init__(self, stage: CountedWork, made: asyncio.Task[tuple[Replica, Any]]) -> None:
        self._stage = stage
        self._made = made

    async def value(self) -> Any:
        replica, value = await asyncio.shield(self._made)
        if not replica.process.alive:
            raise StageLost(f"what {replica.id} held is lost", stage=_deployment(self._stage), died=replica.id)
        return value


class SimStages(StagesByName):
    """The stages as one Director's process reaches them."""

    def __init__(self, director: Process, network: Network, pools: Mapping[CountedWork, Pool]) -> None:
        self._director = director
        self._network = network
        self._pools = pools

    async def _answer(self, stage: CountedWork, work: StageCall[T], *given: Ref, replica: str | None = None) -> T:
        _, value = await self._made(stage, work, *given, replica=replica)
        return value

    def _refer(self, stage: CountedWork, work: StageCall[Any], *given: Ref, replica: str | None = None) -> Ref:
        made = asyncio.get_running_loop().create_task(self._made(stage, work, *given, replica=replica))
        made.add_done_callback(_looked_at)
        return Ref(_Promise(stage, made))

    async def _made(
        self, stage: CountedWork, work: StageCall[T], *given: Ref, replica: str | None = None
    ) -> tuple[Replica, T]:
        values = [await cast(_Promise, ref).value() for ref in given]
        pool = self._pools[stage]
        if pool.away is not None and (pool.away != "unreachable" or self._network.loses()):
            raise await self._refused(stage, pool.away)
        chosen = await pool.choose(replica)
        try:
            value = await self._network.call(
                self._director, chosen.process, lambda: work(chosen.stages[stage], *values)
            )
        except StageLost as lost:
            died = "" if chosen.process.alive else chosen.id
            raise StageLost(lost.message, stage=_deployment(stage), died=died) from lost
        if pool.away == "unreachable":
            raise await self._refused(stage, pool.away)
        return chosen, value

    async def _refused(self, stage: CountedWork, cause: AwayCause) -> StageAway:
        """What `deployments/outcomes.py` makes of Serve's errors."""
        await asyncio.sleep(self._network.hop_s())
        return StageAway("away", cause=cause, stage=_deployment(stage), may_have_begun=cause == "unreachable")


def _deployment(stage: CountedWork) -> StageName:
    return CONDITIONER if stage == INGEST else stage


def _looked_at(task: asyncio.Task[Any]) -> None:
    """What goes wrong inside shows where the reference is used, if it is."""
    if not task.cancelled():
        task.exception()
