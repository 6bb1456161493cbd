"""The stages: replicas that come and go, and what a Director sees of them (`serving.stages.interface.Stages`).

Denoiser, Conditioner, TextEncoder and PromptWriter are the shipped ones, with `model.py`'s family. The Renderer is
simulated: its films are a few bytes. A call goes to the replica that it names, if that lives, else to any, and waits
while there is none, as `deployments/router.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from engines.families.base import Array
from engines.session import Session
from serving.media.sandbox import Decoder
from serving.metrics import Unrecorded
from serving.segments.manifest import MediaPart
from serving.stages.condition import Conditioner
from serving.stages.contracts import (
    CancelCall,
    ConditionCall,
    ImageCall,
    ImageResult,
    IngestCall,
    IngestResult,
    InputsCall,
    InputsResult,
    PromptCall,
    PromptResult,
    RenderCall,
    RenderResult,
    SliceCall,
    SliceResult,
    StageLost,
    TakeCall,
    TextCall,
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
from tests.sim.loop import Process, SimLoop
from tests.sim.network import Network

T = TypeVar("T")
RENDER_S = (0.02, 0.3)


def loaded(store: Store) -> Loaded:
    """What a stage stands on."""
    return Loaded(cast(Session, model.TinySession()), store, Unrecorded())


class Encoder:
    """The light stages of one replica."""

    def __init__(self, store: Store) -> None:
        self.prompts = PromptWriter(lambda name: model.FAMILY)
        self.texts = TextEncoder(loaded(store))
        self.conditioner = Conditioner(loaded(store), cast(Decoder, None))


class Renderer:
    """A few bytes for a film."""

    def __init__(self, store: Store, chance: Chance) -> None:
        self._store = store
        self._chance = chance

    async def render(self, call: RenderCall, latents: Array) -> RenderResult:
        blobs = Blobs(self._store, call.tenant)
        lead = await get_latents(blobs, call.lead) if call.lead else None
        await asyncio.sleep(self._chance.pause_s(*RENDER_S))
        film = model.film(latents, lead, call.start_frame, call.sequence_start)
        frames = model.frames_of(latents, lead)
        blob, init, thumbnail = await asyncio.gather(
            blobs.put(film), blobs.put(repr(call.track).encode()), blobs.put(model.picture(latents))
        )
        part = MediaPart(blob=blob, size=len(film), fragment_sizes=(len(film),), fragment_frames=(frames,))
        return RenderResult(frames=frames, init=init, media=part, thumbnail=thumbnail)

    async def render_image(self, call: ImageCall, latents: Array) -> ImageResult:
        await asyncio.sleep(self._chance.pause_s(*RENDER_S))
        return ImageResult(await Blobs(self._store, call.tenant).put(model.picture(latents)), 8, 8)


@dataclass(frozen=True)
class Replica:
    """One that is up."""

    process: Process
    id: str
    stage: Any


class Pool:
    """The replicas of one deployment."""

    def __init__(self, loop: SimLoop, chance: Chance) -> None:
        self.up: list[Replica] = []
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

    def __init__(self, made: asyncio.Task[tuple[Replica, Any]]) -> None:
        self._made = made

    async def value(self) -> Any:
        replica, value = await asyncio.shield(self._made)
        if not replica.process.alive:
            raise StageLost(f"what {replica.id} held is lost")
        return value


class SimStages:
    """Implements `serving.stages.interface.Stages` for one Director's process."""

    def __init__(
        self, director: Process, network: Network, *, encoders: Pool, denoisers: Pool, renderers: Pool
    ) -> None:
        self._director = director
        self._network = network
        self._encoders = encoders
        self._denoisers = denoisers
        self._renderers = renderers

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        return await self._call(self._encoders, lambda encoder: encoder.prompts.write(call))

    def embed_text(self, call: TextCall) -> Ref:
        return self._promise(self._encoders, lambda encoder: encoder.texts.embed(call))

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        return await self._call(self._encoders, lambda encoder: encoder.conditioner.read_inputs(call))

    async def ingest(self, call: IngestCall) -> IngestResult:
        raise NotImplementedError

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        return self._promise(self._encoders, lambda encoder, value: encoder.conditioner.condition(call, value), text)

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        value = await cast(_Promise, conditions).value()
        return await self._call(self._denoisers, lambda denoiser: denoiser.run_slice(call, value), call.replica)

    def take_latents(self, call: TakeCall) -> Ref:
        return self._promise(self._denoisers, lambda denoiser: denoiser.take(call), named=call.replica)

    async def cancel(self, call: CancelCall) -> None:
        await self._call(self._denoisers, lambda denoiser: denoiser.cancel(call), call.replica)

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        value = await cast(_Promise, latents).value()
        return await self._call(self._renderers, lambda renderer: renderer.render(call, value))

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        value = await cast(_Promise, latents).value()
        return await self._call(self._renderers, lambda renderer: renderer.render_image(call, value))

    async def _call(self, pool: Pool, work: Callable[[Any], Coroutine[Any, Any, T]], named: str | None = None) -> T:
        replica = await pool.choose(named)
        return await self._network.call(self._director, replica.process, lambda: work(replica.stage))

    def _promise(
        self, pool: Pool, work: Callable[..., Coroutine[Any, Any, Any]], *given: Ref, named: str | None = None
    ) -> Ref:
        async def make() -> tuple[Replica, Any]:
            values = [await cast(_Promise, ref).value() for ref in given]
            replica = await pool.choose(named)
            value = await self._network.call(self._director, replica.process, lambda: work(replica.stage, *values))
            return replica, value

        made = asyncio.get_running_loop().create_task(make())
        made.add_done_callback(_looked_at)
        return Ref(_Promise(made))


def _looked_at(task: asyncio.Task[Any]) -> None:
    """What goes wrong inside shows where the reference is used, if it is."""
    if not task.cancelled():
        task.exception()
