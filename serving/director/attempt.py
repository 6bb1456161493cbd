"""One attempt's record, its calls to the stages, and what it does when one does not do its part.

`prepare.py`, `run.py` and `outcome.py` write through it. Denoising ahead and rendering behind write the same record,
one after the other.

    the stage is away → the call waits at `stage_gate.py`, and nothing is counted
    a worker died, or a replica is silent → the next attempt begins; `blame.py` tells whether that is counted, and
                          `suspects.py` sees that a job that ends its workers takes no other with it
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Never, TypeVar

from serving.director import chain
from serving.director.blame import Blame
from serving.director.chain import Reached
from serving.director.context import RunContext
from serving.director.job_trace import JobTrace
from serving.director.stage_gate import LOOK_EVERY_S, Caller
from serving.jobs.dead import inputs_of
from serving.jobs.history import Event, EventKind
from serving.jobs.record import JobRecord, JobState
from serving.metrics import WORKERS_LOST
from serving.stage_names import CONDITIONER, INGEST, CountedWork, ModelStage
from serving.stages.contracts import StageAway, StageLost
from serving.stages.interface import Stages

MAX_CRASHES = 6
"""Workers that a job may lose without getting further in between."""
_PAUSE_S = 0.2
_NOTED_AFTER_S = 2.0
"""Most of what goes away is back by then."""
_READS_INPUTS: tuple[CountedWork, ...] = (CONDITIONER, INGEST)

T = TypeVar("T")


class Crashed(Exception):
    """The job lost its workers again and again at this stage."""

    def __init__(self, stage: CountedWork, why: str, *, read_inputs: bool) -> None:
        super().__init__(f"{MAX_CRASHES} workers went away at the stage {stage}; the last one: {why}")
        self.stage = stage
        self.read_inputs = read_inputs
        """Whether the stage was reading what the user handed in."""


class NotDone(Exception):
    """A call was not done, and is to be made again: at once, for `Attempt.call` waits where that is needed."""


class Attempt:
    """The record of a running job, as its run last wrote it."""

    def __init__(self, record: JobRecord, context: RunContext) -> None:
        self.record = record
        self.trace = JobTrace(record, context.traces, context.now_ms)
        self._context = context
        self._writing = asyncio.Lock()
        self._notes: list[Event] = []
        self._blame = Blame(context.gates, chain.stands_at(record), record.crashes)
        self._waits = False
        """The record says that it waits for a stage."""

    @property
    def stages(self) -> Stages:
        """Its model's."""
        return self._context.models.stages(self.record.plan.model)

    def note(self, kind: EventKind, **fields: object) -> None:
        """Something that happened; it is stored with the next write."""
        self._notes.append(self._context.publisher.event(kind, self.record, **fields))

    async def write(self, **changes: object) -> None:
        """Store the record with these changes and all notes. Raises `Superseded`, `EpochLost`."""
        async with self._writing:
            notes = self._taken()
            self.record = await self._context.publisher.write(self.record, *notes, **changes)

    async def finish(self, state: JobState, **changes: object) -> None:
        """End the job. Raises as `write` does."""
        async with self._writing:
            notes = self._taken()
            self.record = await self._context.publisher.finish(self.record, state, changes, *notes)

    async def surviving(
        self,
        stages: Sequence[CountedWork],
        work: Callable[[], Awaitable[T]],
        *,
        place: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        segment: int | None = None,
    ) -> T:
        """Do a piece of work, again if it must be, until it is done. Raises `Crashed` in the end."""
        while True:
            try:
                return await self.call(stages, work, place=place, segment=segment)
            except NotDone:
                continue

    async def call(
        self,
        stages: Sequence[CountedWork],
        work: Callable[[], Awaitable[T]],
        *,
        place: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        finished: Callable[[T], bool] = lambda _: True,
        at: Reached | None = None,
        segment: int | None = None,
    ) -> T:
        """Make one call to the last of these stages, which needs the others' results, once all of them work.

        Raises what the stage raised, `NotDone` when it was away or its worker died, and `Crashed` when too many did.
        `place`: what is had while the call is made, and may have to be waited for; the stages may go away meanwhile.
        `finished`: whether a result ends a piece of work; `at`: how far the job is, where that is told.
        `segment`: what the call is for, where it is for one.
        """
        called, caller, alone = stages[-1], Caller(self.record.key, self._suspect(stages[-1])), False
        gates, needed = self._context.gates, tuple(map(self._of_its_model, stages))
        try:
            while True:
                await self._enter(needed, caller)
                losses = self._blame.in_a_row(needed, caller, at.place if at else None, self.record.crashes)
                async with self._context.suspects.apart(needed, losses) as alone, place():
                    if not gates.passes(needed, caller):
                        gates.left(needed, caller)
                        continue
                    answer = self._answer(needed, caller, work)
                    result = await self.trace.call(self.record, called, segment, answer)
                    self._answered(needed, caller, finished=finished(result))
                    self._go_on(called)
                    return result
        except StageAway as away:
            stage = _at_fault(called, away.stage)
            gates.refused(self._of_its_model(stage), away)
            if away.may_have_begun:  # its lease may still be held: nobody else may work under it
                await self._next(stage, away.message, at)
            raise NotDone from away
        except StageLost as gone:
            await self._lost(_at_fault(called, gone.stage), called, caller, gone, at, alone=alone)
            raise NotDone from gone
        finally:
            gates.left(needed, caller)

    async def _enter(self, stages: Sequence[ModelStage], caller: Caller) -> None:
        """Wait for the stages; where that takes long, the record says so once, and once when it is over."""
        gates = self._context.gates
        if not gates.closed(stages):  # as nearly always: then no clock is set
            await gates.enter(stages, caller)
            return
        try:
            async with asyncio.timeout(None if self._waits else _NOTED_AFTER_S):
                await gates.enter(stages, caller)
                return
        except TimeoutError:
            gates.left(stages, caller)
        self._waits = True
        self.note(EventKind.REQUEUED, text=gates.closed(stages))
        await self.write()
        await gates.enter(stages, caller)

    async def _answer(self, stages: Sequence[ModelStage], caller: Caller, work: Callable[[], Awaitable[T]]) -> T:
        """The result; where it takes long, see whether there is anybody to give it."""
        asked, looking = asyncio.ensure_future(work()), asyncio.ensure_future(self._look(stages))
        try:
            await asyncio.wait({asked, looking}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
        finally:
            looking.cancel()
            asked.cancel()
        try:
            return asked.result()
        except (StageAway, StageLost):
            raise
        except Exception:  # it is there, and says what is wrong
            self._context.gates.answered(stages, caller, finished=False)
            raise

    async def _look(self, stages: Sequence[ModelStage]) -> Never:
        """Beside the call: whoever counts the replicas may be away himself."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._context.gates.look(stages)

    async def _lost(
        self,
        stage: CountedWork,
        called: CountedWork,
        caller: Caller,
        gone: StageLost,
        at: Reached | None,
        *,
        alone: bool,
    ) -> None:
        """A worker of `stage` died or is silent: the next attempt begins, after a pause, unless it did for this death.

        Raises `Crashed` after too many.
        """
        at_fault = self._of_its_model(stage)
        self._context.metrics.add(WORKERS_LOST, **at_fault._asdict())
        if self._blame.knows(gone.died):
            await asyncio.sleep(_PAUSE_S)
            return
        reached = at.place if at else chain.stands_at(self.record)
        held = self._blame.of(at_fault, caller, gone, reached, self.record.crashes, alone=alone)
        await self._next(stage, gone.message, at, crashes=held.crashes)
        if not held.is_its_own:
            return
        if held.crashes >= MAX_CRASHES:
            raise Crashed(stage, gone.message, read_inputs=called in _READS_INPUTS)
        await asyncio.sleep(_PAUSE_S * held.crashes)

    async def _next(self, stage: CountedWork, why: str, at: Reached | None, **changes: object) -> None:
        """The attempt is over, and the next one begins here and now."""
        where = {} if at is None else {"segment": at.segment, "step": at.step, "replica": at.replica or ""}
        self.note(EventKind.LOST, text=f"{stage}: {why}", **where)
        async with self._writing:
            record, notes = self.record, self._taken()
            changes["attempt"] = record.attempt + 1
            self.record = await self._context.publisher.write(record, *notes, **changes)
            self.trace.breaks_off(record, f"lost at the stage {stage}")

    def _answered(self, needed: Sequence[ModelStage], caller: Caller, *, finished: bool) -> None:
        self._context.gates.answered(needed, caller, finished=finished)
        if finished:
            self._blame.finished(needed)

    def _go_on(self, stage: CountedWork) -> None:
        if self._waits:
            self._waits = False
            self.note(EventKind.RESUMED, text=f"now that the stage {stage} answers")

    def _of_its_model(self, stage: CountedWork) -> ModelStage:
        return ModelStage(self.record.plan.model, stage)

    def _suspect(self, called: CountedWork) -> str:
        """Who is to blame if this call ends its worker: what it reads, for others may read the same; or the job.

        One that is made again in place of a dead one is the same: two that die must not look like the stage's fault.
        """
        read = inputs_of(self.record) if called in _READS_INPUTS else ()
        return "/".join((self.record.tenant, *(read or (self.record.requeue_of or self.record.id,))))

    def _taken(self) -> list[Event]:
        notes, self._notes = self._notes, []
        return notes


def _at_fault(called: CountedWork, named: CountedWork | None) -> CountedWork:
    """The stage that failed. Ingesting is the Conditioner's work, and told apart."""
    return called if named is None or (called, named) == (INGEST, CONDITIONER) else named
