"""Bugs in what is written of a job, and in leases and epochs."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from typing import Any

from serving.director.publish import Publisher
from serving.errors import Conflict
from serving.jobs.dead import DeadLetters
from serving.jobs.epoch import Epoch
from serving.jobs.history import Event
from serving.jobs.lease import Lease, LeaseWatch, Verdict
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Created, Jobs
from serving.segments.lineage import Segments
from serving.store import keys
from tests.sim.plants.plant import Plant, nothing, put


def no_epoch_check(stack: ExitStack) -> None:
    """A Director never asks whether a newer one has started."""
    put(stack, Epoch, "check", nothing)


def publishes_first(stack: ExitStack) -> None:
    """The manifest is written beside the record, and not before it."""
    commit = Segments.commit

    async def beside(self: Segments, manifest: Any) -> str:
        task = asyncio.get_running_loop().create_task(commit(self, manifest))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        digest: str = manifest.digest()
        return digest

    put(stack, Segments, "commit", beside)


async def _overwrite(jobs: Jobs, record: JobRecord, **changes: Any) -> JobRecord:
    key = keys.job(record.tenant, record.id)
    stored = await jobs._store.get(key)
    update = {**changes, "version": record.version + 1, "nonce": jobs._nonce()}
    changed = JobRecord.model_validate({**dict(record), **update})
    await jobs._store.swap(key, changed.encode(), stored.version)
    return changed


def ignores_conflict(stack: ExitStack) -> None:
    """A transition writes over what somebody else wrote meanwhile."""
    put(stack, Jobs, "transition", _overwrite)


def claims_without_compare(stack: ExitStack) -> None:
    """A claim writes over what somebody else wrote meanwhile."""

    async def take(self: Publisher, record: JobRecord, event: Event, **changes: Any) -> JobRecord:
        await self._epoch.check()
        changes = {**changes, "epoch": self._epoch.number, "events": (*record.events, event)}
        taken = await _overwrite(self._jobs, record, **changes)
        self._feed.wrote(taken)
        return taken

    put(stack, Publisher, "_take", take)


def retires_first(stack: ExitStack) -> None:
    """The active/ key goes before the terminal swap."""
    finish = Publisher.finish

    async def finished(self: Publisher, record: JobRecord, state: JobState, *rest: Any) -> JobRecord:
        await self._jobs.retire(record)
        return await finish(self, record, state, *rest)

    put(stack, Publisher, "finish", finished)


def never_retires(stack: ExitStack) -> None:
    """The active/ key of an ended job stays."""
    put(stack, Jobs, "retire", nothing)


def attempts_not_counted(stack: ExitStack) -> None:
    """A job that is claimed again keeps the number of its attempt."""
    take = Publisher._take

    async def taken(self: Publisher, record: JobRecord, event: Event, **changes: Any) -> JobRecord:
        return await take(self, record, event, **{**changes, "attempt": max(1, record.attempt)})

    put(stack, Publisher, "_take", taken)


def adoption_counts(stack: ExitStack) -> None:
    """Adopting an attempt counts as a crash of it."""

    async def adopt(self: Publisher, record: JobRecord, replica: str, segment: int, step: int) -> JobRecord:
        return await self.write(record, epoch=self._epoch.number, crashes=record.crashes + 1)

    put(stack, Publisher, "adopt", adopt)


def requeue_loses_segments(stack: ExitStack) -> None:
    """A job that goes back into the queue begins anew."""
    requeue = Publisher.requeue

    async def anew(self: Publisher, record: JobRecord, why: str, **changes: object) -> JobRecord:
        return await requeue(self, record, why, segments=(), images=(), steps_done=0, **changes)

    put(stack, Publisher, "requeue", anew)


def reads_no_lease(stack: ExitStack) -> None:
    """A Director that starts takes every attempt for dead."""

    async def look(self: LeaseWatch, job: str, attempt: int) -> tuple[Verdict, Lease | None]:
        return Verdict.NOBODY, None

    put(stack, LeaseWatch, "look", look)


def lease_expires_at_once(stack: ExitStack) -> None:
    """A lease that was not beaten between two looks has expired."""
    look = LeaseWatch.look

    async def hasty(self: LeaseWatch, job: str, attempt: int) -> tuple[Verdict, Lease | None]:
        verdict, lease = await look(self, job, attempt)
        return (Verdict.EXPIRED if verdict is Verdict.UNSURE else verdict), lease

    put(stack, LeaseWatch, "look", hasty)


def lease_never_expires(stack: ExitStack) -> None:
    """A Director waits for ever for the replica of an attempt that it finds."""
    look = LeaseWatch.look

    async def patient(self: LeaseWatch, job: str, attempt: int) -> tuple[Verdict, Lease | None]:
        verdict, lease = await look(self, job, attempt)
        return (Verdict.UNSURE if verdict is Verdict.EXPIRED else verdict), lease

    put(stack, LeaseWatch, "look", patient)


def no_letter(stack: ExitStack) -> None:
    """A job whose workers crashed leaves no dead letter."""
    put(stack, DeadLetters, "bury", nothing)


def record_before_index(stack: ExitStack) -> None:
    """A job's record is written before the key by which Directors find it."""

    async def create(self: Jobs, record: JobRecord) -> Created:
        fresh = record.model_copy(update={"version": 1, "nonce": self._nonce()})
        new = await self._store.put_if_absent(keys.job(fresh.tenant, fresh.id), fresh.encode())
        await self._store.put_if_absent(keys.job_by_time(fresh.tenant, fresh.created_ms, fresh.id), b"")
        await self._store.put_if_absent(keys.active(fresh.tenant, fresh.priority, fresh.deadline_ms, fresh.id), b"")
        return Created(fresh if new else await self.get(fresh.tenant, fresh.id), new=new)

    put(stack, Jobs, "create", create)


def unlisted(stack: ExitStack) -> None:
    """The key that lists a job is not written."""

    async def create(self: Jobs, record: JobRecord) -> Created:
        fresh = record.model_copy(update={"version": 1, "nonce": self._nonce()})
        await self._store.put_if_absent(keys.active(fresh.tenant, fresh.priority, fresh.deadline_ms, fresh.id), b"")
        new = await self._store.put_if_absent(keys.job(fresh.tenant, fresh.id), fresh.encode())
        return Created(fresh if new else await self._same_request(fresh), new=new)

    put(stack, Jobs, "create", create)


def epoch_without_compare(stack: ExitStack) -> None:
    """Two Directors that start together may take the same epoch."""
    from serving.jobs import epoch
    from tests.sim import directors

    async def take_epoch(store: Any) -> Epoch:
        await store.put_if_absent(keys.EPOCH, epoch._record(0, ""))
        found = await store.get(keys.EPOCH)
        number = epoch._number(found.data) + 1
        with suppress(Conflict):
            await store.swap(keys.EPOCH, epoch._record(number, ""), found.version)
        return Epoch(store, number)

    put(stack, directors, "take_epoch", take_epoch)


BUGS: dict[str, Plant] = {
    "no-epoch-check": no_epoch_check,
    "publishes-first": publishes_first,
    "ignores-conflict": ignores_conflict,
    "claims-without-compare": claims_without_compare,
    "retires-first": retires_first,
    "never-retires": never_retires,
    "attempts-not-counted": attempts_not_counted,
    "adoption-counts": adoption_counts,
    "requeue-loses-segments": requeue_loses_segments,
    "reads-no-lease": reads_no_lease,
    "lease-expires-at-once": lease_expires_at_once,
    "lease-never-expires": lease_never_expires,
    "no-letter": no_letter,
    "record-before-index": record_before_index,
    "unlisted": unlisted,
    "epoch-without-compare": epoch_without_compare,
}
