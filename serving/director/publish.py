"""How the Director writes: every record by compare-and-swap, under its epoch, with its history, and told to the feed.

A front door may write between two writes of ours (it asks to cancel): then the record is read again and the change is
put on top. Anybody else's write means that the job is not ours any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.director.chain import Reached
from serving.director.events import Feed
from serving.errors import Conflict, NotFound
from serving.jobs.epoch import Epoch
from serving.jobs.history import Event, EventKind, appended
from serving.jobs.record import JobRecord, JobState, Phase
from serving.jobs.repository import Jobs
from serving.jobs.traced import tell_moved
from serving.metrics import JOB_SECONDS, JOBS_FINISHED, QUEUE_SECONDS, Recorder
from serving.traces.spans import Traces


class Superseded(Exception):
    """The job is not this attempt's any more; stop without writing."""


class Publisher:
    """Writes for one Director. Every method raises `EpochLost` once a newer Director has started."""

    def __init__(
        self, jobs: Jobs, epoch: Epoch, feed: Feed, metrics: Recorder, traces: Traces, now_ms: Callable[[], int]
    ) -> None:
        self._jobs = jobs
        self._epoch = epoch
        self._feed = feed
        self._metrics = metrics
        self._traces = traces
        self._now_ms = now_ms

    def event(self, kind: EventKind, record: JobRecord, **fields: object) -> Event:
        """Something that happens now to this attempt."""
        about = {"attempt": record.attempt, "epoch": self._epoch.number, **fields}
        return Event.model_validate({"kind": kind, "at_ms": self._now_ms(), **about})

    async def claim(
        self, record: JobRecord, why: str = "", *, reached: Reached | None = None, crashes: int | None = None
    ) -> JobRecord:
        """Start the next attempt. `reached`: how far the last one is known to have come; `crashes`: those to count now.

        Raises `Superseded` when somebody else wrote first: read the record again.
        """
        now = self._now_ms()
        attempt = record.attempt + 1
        where = {} if reached is None else {"segment": reached.segment, "step": reached.step}
        claimed = await self._take(
            record,
            self.event(EventKind.CLAIMED, record, attempt=attempt, text=why, **where),
            state=JobState.RUNNING,
            phase=Phase.PROMPT,
            attempt=attempt,
            crashes=record.crashes if crashes is None else crashes,
            started_ms=record.started_ms or now,
        )
        if record.started_ms is None:
            waited_s = max(0, now - record.created_ms) / 1000  # of two machines' clocks
            self._metrics.observe(QUEUE_SECONDS, waited_s, model=record.plan.model)
        return claimed

    async def adopt(self, record: JobRecord, replica: str, segment: int, step: int) -> JobRecord:
        """Go on with the attempt of an earlier Director, whose replica lives. Raises as `claim` does."""
        event = self.event(EventKind.ADOPTED, record, replica=replica, segment=segment, step=step)
        return await self._take(record, event)

    async def write(self, record: JobRecord, *notes: Event, **changes: object) -> JobRecord:
        """The record with these changes and events, stored. Raises `Superseded` when it is another attempt's."""
        while True:
            await self._epoch.check()
            try:
                stored = await self._jobs.transition(record, events=_noted(record, notes), **changes)
            except Conflict:
                record = await self._again(record)
                continue
            self._wrote(record, stored)
            return stored

    async def requeue(self, record: JobRecord, why: str, **changes: object) -> JobRecord:
        """Let the next attempt start from the last committed segment."""
        note = self.event(EventKind.REQUEUED, record, text=why)
        return await self.write(record, note, state=JobState.QUEUED, phase=None, **changes)

    async def finish(
        self, record: JobRecord, state: JobState, changes: Mapping[str, object] | None = None, *notes: Event
    ) -> JobRecord:
        """End the job: the terminal swap, then its `active/` key goes."""
        ending = {**(changes or {}), "state": state, "phase": None, "finished_ms": self._now_ms()}
        stored = await self.write(record, *notes, self.event(EventKind.ENDED, record, text=state.value), **ending)
        await self._jobs.retire(stored)
        self._metrics.add(JOBS_FINISHED, state=state.value)
        self._metrics.observe(JOB_SECONDS, (self._now_ms() - stored.created_ms) / 1000, state=state.value)
        return stored

    async def _take(self, record: JobRecord, event: Event, **changes: object) -> JobRecord:
        await self._epoch.check()
        changes = {**changes, "epoch": self._epoch.number, "events": _noted(record, (event,))}
        try:
            taken = await self._jobs.transition(record, **changes)
        except (Conflict, NotFound) as error:
            raise Superseded(f"{record.id} was changed or deleted before it was claimed") from error
        self._wrote(record, taken)
        return taken

    def _wrote(self, before: JobRecord, after: JobRecord) -> None:
        self._feed.wrote(after)
        tell_moved(self._traces, before, after, self._now_ms())

    async def _again(self, ours: JobRecord) -> JobRecord:
        try:
            fresh = await self._jobs.get(ours.tenant, ours.id)
        except NotFound as error:
            raise Superseded(f"{ours.id} was deleted") from error
        if fresh.state is not ours.state or (fresh.attempt, fresh.epoch) != (ours.attempt, ours.epoch):
            raise Superseded(
                f"{ours.id} is {fresh.state} in attempt {fresh.attempt} of epoch {fresh.epoch}, "
                f"not in attempt {ours.attempt} of epoch {ours.epoch}"
            )
        return fresh


def _noted(record: JobRecord, notes: tuple[Event, ...]) -> tuple[Event, ...]:
    events = record.events
    for note in notes:
        events = appended(events, note)
    return events
