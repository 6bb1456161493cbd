"""A Director on a simulated clock, over a store in memory, with stages that do as they are told."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from random import Random
from typing import Any

from engines import models
from serving.director.director import Director
from serving.director.served import Served
from serving.jobs.epoch import take_epoch
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import Metric
from serving.plan import plan
from serving.requests import VideoRequest
from serving.segments.manifest import LatentRef, MediaPart
from serving.stage_names import CONDITIONER, DENOISER, PROMPT_WRITER, RENDERER, TEXT_ENCODER, StageName
from serving.stages.contracts import (
    RENDERS_AT_ONCE,
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
    TakeCall,
    TextCall,
)
from serving.stages.interface import Ref
from serving.store import keys
from tests.sim.chance import Chance
from tests.sim.loop import SimLoop
from tests.sim.store import Disk, SimStore

NOTHING = "0" * 64
_MEDIA = MediaPart(blob=NOTHING, size=1, fragment_sizes=(1,), fragment_frames=(17,))
Trouble = Callable[[StageName, str], Awaitable[None]]
"""Raises, or waits, in place of a stage that does not do a call: its name, and the job (or the tenant)."""


class ToldStages:
    """Implements `serving.stages.interface.Stages`. `trouble` may be planted; `up` says what `replicas` does."""

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self.up: dict[StageName, int] = {}
        self.counts = asyncio.Event()
        """Whether replicas are counted; whoever asks waits for it."""
        self.counts.set()
        self.calls: Counter[StageName] = Counter()
        self.slices = 1
        """Into so many a segment is cut, one step or more each; what was done is in a checkpoint."""
        self._sliced: Counter[str] = Counter()

    async def _at(self, stage: StageName, whose: str) -> None:
        self.calls[stage] += 1
        await asyncio.sleep(0.01)
        if self.trouble is not None:
            await self.trouble(stage, whose)

    async def write_prompt(self, call: PromptCall) -> PromptResult:
        await self._at(PROMPT_WRITER, call.prompt)
        return PromptResult(("a red square at column 1, row 1 moves right under a white sky, the camera holds",))

    def embed_text(self, call: TextCall) -> Ref:
        return Ref((self._at, TEXT_ENCODER, call.tenant))

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        await self._at(CONDITIONER, call.references[0])
        return InputsResult()

    async def ingest(self, call: IngestCall) -> IngestResult:
        raise NotImplementedError

    def condition(self, call: ConditionCall, text: Ref) -> Ref:
        return Ref((self._at, CONDITIONER, call.tenant, text))

    async def run_slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        await _value(conditions)
        before = self._sliced[call.job]
        await self._at(DENOISER, call.job)
        came, began = ((call.steps * slices) // self.slices for slices in (before + 1, before))
        self._sliced[call.job] = (before + 1) % self.slices
        if before + 1 < self.slices:
            return SliceResult(came, done=False, replica="r", from_step=began, step_seconds=0.01)
        done = LatentRef(blob=NOTHING, start=0, count=5)
        return SliceResult(came, done=True, replica="r", from_step=began, latents=done, step_seconds=0.01)

    def take_latents(self, call: TakeCall) -> Ref:
        return Ref((self._at, DENOISER, call.job))

    async def cancel(self, call: CancelCall) -> None:
        """There is nothing to stop."""

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        await _value(latents)
        await self._at(RENDERER, call.job)
        return RenderResult(frames=17, init=NOTHING, media=_MEDIA, thumbnail=NOTHING)

    async def render_image(self, call: ImageCall, latents: Ref) -> ImageResult:
        raise NotImplementedError

    async def replicas(self) -> Mapping[StageName, int]:
        await self.counts.wait()
        return self.up


async def _value(reference: Ref) -> None:
    made: Any = reference
    at, stage, whose, *given = made
    for other in given:
        await _value(other)
    await at(stage, whose)


class Gauges:
    """A `Recorder` that keeps what was set and added, and all that was observed."""

    def __init__(self) -> None:
        self.values: Counter[tuple[str, ...]] = Counter()
        self.observed: dict[tuple[str, ...], list[float]] = {}

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        self.values[metric.name, *labels.values()] += amount  # type: ignore[assignment]

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        self.values[metric.name, *labels.values()] = value  # type: ignore[assignment]

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        self.observed.setdefault((metric.name, *labels.values()), []).append(value)


class Bureau:
    """See the module."""

    def __init__(self) -> None:
        self.loop = SimLoop(Random("away"))  # type: ignore[abstract]  # what it lacks nobody asks for
        self.disk = Disk(self.now_ms)
        self.store = SimStore(self.disk, self.loop.world, Chance(Random("calm"), lambda: self.loop.now))
        self.jobs = Jobs(self.store)
        self.stages = ToldStages()
        self.gauges = Gauges()
        self.director: Director | None = None
        self.others: dict[str, ToldStages] = {}
        """The stages of models beside the first one, by name."""

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(1000 * self.loop.now)

    def run(
        self,
        play: Callable[[Bureau], Coroutine[Any, Any, None]],
        *,
        slots: int = 4,
        renders: int = RENDERS_AT_ONCE,
        before: Callable[[Bureau], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Play it, with a Director at work; two simulated hours at most. `before` is played before it starts."""

        async def main() -> None:
            if before is not None:
                await before(self)
            numbers = itertools.count()
            self.director = Director(
                store=self.store,
                jobs=self.jobs,
                epoch=await take_epoch(self.store),
                models=self.served(slots=slots, renders=renders),
                slice_s=5.0,
                metrics=self.gauges,
                now_ms=self.now_ms,
                incident=lambda: f"incident-{next(numbers)}",
            )
            life = asyncio.get_running_loop().create_task(self.director.run())
            try:
                await play(self)
            finally:
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)

        try:
            self.loop.run(main(), limit_s=7200.0)
        finally:
            self.loop.forget()

    def served(self, *, slots: int = 4, renders: int = RENDERS_AT_ONCE) -> dict[str, Served]:
        """All models, each with so many places."""
        family = models.family("sprite-2")
        all_stages = {"sprite-2": self.stages, **self.others}
        return {name: Served(stages, family, slots, renders=renders) for name, stages in all_stages.items()}

    async def job(
        self,
        *,
        tenant: str = "studio",
        model: str = "sprite-2",
        deadline_s: float | None = None,
        priority: int = 5,
        **fields: Any,
    ) -> JobRecord:
        """A queued job of one segment."""
        asked = {"prompt": "a red circle", "seconds": 1, "steps": 2, "seed": 3, "resolution": "480p", **fields}
        request = VideoRequest(model=model, aspect_ratio="1:1", **asked)
        planned = plan(request, models.family("sprite-2").capabilities, model_digest=NOTHING, seed=3)
        planned = planned.model_copy(update={"model": model})
        record = JobRecord(
            id=new_id("vid_"),
            tenant=tenant,
            request=request,
            plan=planned,
            priority=priority,
            created_ms=self.now_ms(),
            deadline_ms=None if deadline_s is None else self.now_ms() + round(1000 * deadline_s),
        )
        record = (await self.jobs.create(record)).record
        if self.director is not None:
            self.director.wake(tenant, record.id)
        return record

    async def states(self, jobs: list[JobRecord]) -> Counter[JobState]:
        """How many are in which state."""
        return Counter([(await self.now_of(job)).state for job in jobs])

    async def now_of(self, job: JobRecord) -> JobRecord:
        """As the store has it."""
        return await self.jobs.get(job.tenant, job.id)

    async def all_ended(self, jobs: list[JobRecord], *, within_s: float) -> Counter[JobState]:
        """Their last states."""
        async with asyncio.timeout(within_s):
            while not all(state.terminal for state in await self.states(jobs)):  # noqa: ASYNC110  (a store tells nobody)
                await asyncio.sleep(0.5)
        return await self.states(jobs)

    @property
    def quarantined(self) -> int:
        """Inputs that are refused."""
        return sum(key.startswith("t/") and "/quarantine/" in key for key in self.disk.objects)

    def whys(self) -> Mapping[tuple[str, str], str]:
        """What front doors are told of jobs' places."""
        assert self.director is not None
        return self.director.feed.whys

    def letters(self, tenant: str = "studio") -> list[str]:
        """Dead letters."""
        return [key for key in self.disk.objects if key.startswith(keys.dead_letters_of(tenant))]
