"""Who may work on a job: the Director claims what waits, adopts what lives, and ends what is over. `cycle.py` asks, and
`adoption.py` when a Director starts.

A job that an earlier Director left RUNNING is looked at by its lease: while its replica beats, the attempt is adopted
and nothing is done twice; when the lease has expired or was never taken, the next attempt begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serving.director import chain
from serving.director.attempt import MAX_CRASHES
from serving.director.chain import Reached
from serving.director.context import RunContext
from serving.director.outcome import expired
from serving.director.publish import Superseded
from serving.errors import NotFound
from serving.jobs.lease import BEAT_EVERY_S, TTL_S, Lease, Verdict
from serving.jobs.record import JobError, JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.logs import logger

NOT_UNDERSTOOD_S = 10.0
"""A job whose request or plan a later version made, and this one cannot carry out, is looked at so often: a Director of
that version takes it."""

_log = logger("director")


@dataclass(frozen=True)
class Claimed:
    """A job to run now."""

    record: JobRecord
    adopted: Reached | None = None


@dataclass(frozen=True)
class Later:
    """Ask again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class OfAnother:
    """It waits for another model than it was claimed for, or its model is not served: it is to wait in that line."""

    record: JobRecord


@dataclass(frozen=True)
class Ended:
    """There is nothing to run."""

    why: Literal["gone", "ended", "cancelled", "expired", "buried"]
    """gone: no such record; ended: it had ended before; the others: it was ended just now."""


class Claims:
    """Of one Director."""

    def __init__(self, jobs: Jobs, context: RunContext) -> None:
        self._jobs = jobs
        self._context = context
        self._publisher = context.publisher

    async def claim(self, tenant: str, job: str, *, model: str) -> Claimed | Later | OfAnother | Ended:
        """Take a job of this model that nobody of ours runs, or tell why it is not run. Raises `EpochLost`."""
        try:
            record = await self._jobs.get(tenant, job)
        except NotFound:
            return Ended("gone")
        if record.state.terminal:
            self._context.feed.wrote(record)  # its write may have had no answer, and was not told then
            await self._jobs.retire(record)
            return Ended("ended")
        if record.epoch > self._context.epoch.number:
            await self._context.epoch.check()
        try:
            found = await self._decide(record, model)
        except Superseded:
            return Later(0.0)
        if not isinstance(found, Later | OfAnother):
            self._context.leases.forget(record.id)
        return found

    async def adopt(self, tenant: str, job: str) -> Claimed | Later | JobRecord | None:
        """Go on with what a replica is doing for a Director before us. A record: it is to wait for its turn.

        None: there is no such job. Raises `EpochLost`.
        """
        record = await self._jobs.find(tenant, job)
        if record is None:
            return None
        if not self._left_running(record) or self._is_over(record) or record.not_understood():
            return record
        if record.plan.model not in self._context.models:
            return record
        verdict, lease = await self._context.leases.look(record.id, record.attempt)
        if verdict is Verdict.UNSURE:
            return Later(BEAT_EVERY_S / 2)
        if verdict is not Verdict.ALIVE or lease is None:
            return record
        try:
            return await self._adopted(record, lease)
        except Superseded:
            return Later(0.0)

    async def _decide(self, record: JobRecord, model: str) -> Claimed | Later | OfAnother | Ended:
        if record.cancel_requested:
            await self._publisher.finish(record, JobState.CANCELLED)
            return Ended("cancelled")
        if record.deadline_ms is not None and record.deadline_ms <= self._context.now_ms():
            await self._publisher.finish(record, JobState.EXPIRED, {"error": expired()})
            return Ended("expired")
        if unknown := record.not_understood():
            _log.warning("job of a later version waits for its Director", job=record.id, unknown=", ".join(unknown))
            return Later(NOT_UNDERSTOOD_S)
        if record.plan.model != model or model not in self._context.models:
            return OfAnother(record)
        if self._left_running(record):
            return await self._take_over(record)
        return Claimed(await self._publisher.claim(record))

    async def _take_over(self, record: JobRecord) -> Claimed | Later | Ended:
        """The job of a Director before us."""
        verdict, lease = await self._context.leases.look(record.id, record.attempt)
        if verdict is Verdict.UNSURE:
            return Later(BEAT_EVERY_S / 2)
        if verdict is Verdict.ALIVE and lease is not None:
            return await self._adopted(record, lease)
        why = "its Director went away"
        if verdict is Verdict.EXPIRED and lease is not None:
            await self._context.leases.revoke(record.id, record.attempt)
            why = f"its replica {lease.holder} was not heard of for {TTL_S:.0f} s"
        # What that Director sent may reach a replica only now: it must not begin beside the next attempt.
        if not await self._context.leases.close(record.id, record.attempt, epoch=self._context.epoch.number):
            return Later(BEAT_EVERY_S / 2)
        reached = Reached(lease.segment, lease.step) if lease is not None else None
        crashes = record.crashes
        # Without a lease no worker can have died: the job waited, or was in a short stage, when its Director went.
        if verdict is Verdict.EXPIRED and reached is not None:
            crashes = 0 if _got_further(record, reached) else record.crashes + 1
        if crashes > record.crashes and crashes >= MAX_CRASHES:
            await self._bury(record, why)
            return Ended("buried")
        return Claimed(await self._publisher.claim(record, why, reached=reached, crashes=crashes), reached)

    async def _adopted(self, record: JobRecord, lease: Lease) -> Claimed:
        at = Reached(lease.segment, lease.step, lease.holder)
        return Claimed(await self._publisher.adopt(record, lease.holder, lease.segment, lease.step), at)

    def _left_running(self, record: JobRecord) -> bool:
        return record.state is JobState.RUNNING and record.epoch != self._context.epoch.number

    def _is_over(self, record: JobRecord) -> bool:
        late = record.deadline_ms is not None and record.deadline_ms <= self._context.now_ms()
        return late or record.cancel_requested

    async def _bury(self, record: JobRecord, why: str) -> None:
        message = (
            f"{MAX_CRASHES} attempts ended with their workers; the last one: {why}. "
            f"An operator can run it again: `longtake jobs requeue {record.id}`"
        )
        await self._context.dead.bury(record, stage=record.phase or "", why=why, quarantine=False)
        error = JobError(code="WORKERS_CRASHED", message=message)
        await self._publisher.finish(record, JobState.FAILED, {"error": error, "crashes": record.crashes + 1})


def _got_further(record: JobRecord, reached: Reached) -> bool:
    """Whether it did more than before its last loss: then its replica went with the machine, and not by the job."""
    before = chain.reached(record) or Reached(reached.segment, 0)
    return (reached.segment, reached.step) > (before.segment, before.step)
