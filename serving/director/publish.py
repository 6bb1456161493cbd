"""How the Director writes: every record by compare-and-swap, under its epoch, and told to the feed.

A front door may write between two writes of ours (it asks to cancel): then the record is read again and the change is
put on top. Anybody else's write means that the job is not ours any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.director.events import Feed
from serving.errors import Conflict, NotFound
from serving.jobs.epoch import Epoch
from serving.jobs.record import JobRecord, JobState, Phase
from serving.jobs.repository import Jobs
from serving.metrics import JOB_SECONDS, JOB_WAIT_SECONDS, JOBS_FINISHED, Recorder


class Superseded(Exception):
    """The job is not this attempt's any more; stop without writing."""


class Publisher:
    """Writes for one Director. Every method raises `EpochLost` once a newer Director has started."""

    def __init__(self, jobs: Jobs, epoch: Epoch, feed: Feed, metrics: Recorder, now_ms: Callable[[], int]) -> None:
        self._jobs = jobs
        self._epoch = epoch
        self._feed = feed
        self._metrics = metrics
        self._now_ms = now_ms

    async def claim(self, record: JobRecord) -> JobRecord:
        """Start the next attempt. Raises `Superseded` when somebody else wrote first: read the record again."""
        await self._epoch.check()
        now = self._now_ms()
        try:
            claimed = await self._jobs.transition(
                record,
                state=JobState.RUNNING,
                phase=Phase.PROMPT,
                attempt=record.attempt + 1,
                epoch=self._epoch.number,
                started_ms=record.started_ms or now,
            )
        except (Conflict, NotFound) as error:
            raise Superseded(f"{record.id} was changed or deleted before it was claimed") from error
        if record.started_ms is None:
            self._metrics.observe(JOB_WAIT_SECONDS, (now - record.created_ms) / 1000)
        self._feed.wrote(claimed)
        return claimed

    async def write(self, record: JobRecord, **changes: object) -> JobRecord:
        """The record with these changes, stored. Raises `Superseded` when it is not this attempt's any more."""
        while True:
            await self._epoch.check()
            try:
                stored = await self._jobs.transition(record, **changes)
            except Conflict:
                record = await self._again(record)
                continue
            self._feed.wrote(stored)
            return stored

    async def requeue(self, record: JobRecord) -> JobRecord:
        """Let the next attempt start from the last committed segment."""
        return await self.write(record, state=JobState.QUEUED, phase=None)

    async def finish(
        self, record: JobRecord, state: JobState, changes: Mapping[str, object] | None = None
    ) -> JobRecord:
        """End the job: the terminal swap, then its `active/` key goes."""
        ending = {**(changes or {}), "state": state, "phase": None, "finished_ms": self._now_ms()}
        stored = await self.write(record, **ending)
        await self._jobs.retire(stored)
        self._metrics.add(JOBS_FINISHED, state=state.value)
        self._metrics.observe(JOB_SECONDS, (self._now_ms() - stored.created_ms) / 1000, state=state.value)
        return stored

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
