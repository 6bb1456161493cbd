"""One attempt's record, and what it does when a worker goes away: count it, write it down, give the work to another.

`prepare.py`, `run.py` and `outcome.py` write through it. Denoising ahead and rendering behind write the same record,
one after the other. Losses are counted since the job last got further, so a long video may outlive many workers, and a
job that ends its workers without getting anywhere comes to an end; `suspects.py` sees that it takes no other with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from serving.director.context import RunContext
from serving.jobs.history import Event, EventKind
from serving.jobs.record import JobRecord, JobState
from serving.metrics import WORKERS_LOST
from serving.stage_names import CONDITIONER, INGEST, CountedWork
from serving.stages.contracts import StageLost

MAX_CRASHES = 6
"""Workers that a job may lose without getting further in between."""
_PAUSE_S = 0.2
_READS_INPUTS: tuple[CountedWork, ...] = (CONDITIONER, INGEST)

T = TypeVar("T")


class Crashed(Exception):
    """The job lost its workers again and again at this stage."""

    def __init__(self, stage: CountedWork, why: str) -> None:
        super().__init__(f"{MAX_CRASHES} workers went away at the stage {stage}; the last one: {why}")
        self.stage = stage

    @property
    def read_inputs(self) -> bool:
        """Whether the stage was reading what the user handed in."""
        return self.stage in _READS_INPUTS


class Attempt:
    """The record of a running job, as its run last wrote it."""

    def __init__(self, record: JobRecord, context: RunContext) -> None:
        self.record = record
        self._context = context
        self._writing = asyncio.Lock()
        self._notes: list[Event] = []
        self._reached = (0, 0)
        """Segment and step at the losses so far, the furthest."""

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

    async def surviving(self, stage: CountedWork, work: Callable[[], Awaitable[T]]) -> T:
        """Do a piece of work, on another replica if the one that does it goes away. Raises `Crashed` in the end."""
        while True:
            try:
                async with self._context.suspects.apart(stage, self.record.crashes):
                    return await work()
            except StageLost as gone:
                await self.lost(stage, gone)

    async def lost(
        self,
        stage: CountedWork,
        gone: StageLost,
        *,
        segment: int | None = None,
        step: int | None = None,
        replica: str = "",
    ) -> None:
        """A worker went away: the next attempt begins, after a pause. Raises `Crashed` when there were too many."""
        self._context.metrics.add(WORKERS_LOST, stage=stage)
        self.note(EventKind.LOST, segment=segment, step=step, replica=replica, text=f"{stage}: {gone.message}")
        await self._count_loss(segment, step)
        if self.record.crashes >= MAX_CRASHES:
            raise Crashed(stage, gone.message)
        await asyncio.sleep(_PAUSE_S * self.record.crashes)

    async def _count_loss(self, segment: int | None, step: int | None) -> None:
        async with self._writing:
            record, notes = self.record, self._taken()
            reached = (len(record.segments) if segment is None else segment, step or 0)
            crashes = 1 if reached > self._reached else record.crashes + 1
            self._reached = max(reached, self._reached)
            changes = {"attempt": record.attempt + 1, "crashes": crashes}
            self.record = await self._context.publisher.write(record, *notes, **changes)

    def _taken(self) -> list[Event]:
        notes, self._notes = self._notes, []
        return notes
