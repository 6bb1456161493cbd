"""Dead letters from the outside: a job whose workers crashed is run again as a new one. `surfaces/longtake/jobs.py`
calls it.

Terminal states are final, so the dead job stays as it is, and a new one with the same request, plan and seed takes its
place. Its id is derived from the dead one's, so asking twice makes one job. It lives as long from its own create, and
is kept as a file if that was wanted; it has no deadline, for that has passed. No bound is in its way, since its tenant
was let in with it once, and it counts against them from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import AlreadyExists, Corrupt, FailedPrecondition, InvalidArgument, NotFound
from serving.frontdoor.follow.director_link import DirectorLink
from serving.jobs.dead import DeadLetters
from serving.jobs.history import Event, EventKind
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.store import keys
from serving.store.base import Store

REQUEUED = ("WORKERS_CRASHED", "INTERNAL", "MODEL_UNKNOWN")
"""Error codes of failures that were no fault of the caller."""


@dataclass(frozen=True)
class Wanted:
    """Which dead letters."""

    code: str = ""
    """One of `REQUEUED`; empty: any."""
    stage: str = ""
    """Where the workers died; empty: anywhere."""
    since_ms: int = 0
    """When the job failed, at the earliest."""

    def __post_init__(self) -> None:
        if self.code and self.code not in REQUEUED:
            raise InvalidArgument("code", f"jobs are run again that failed with one of {', '.join(REQUEUED)}")


@dataclass(frozen=True)
class Again:
    """A dead letter, and the job that does it again; None where it would be one, or could not be made."""

    dead: str
    job: str | None
    why_not: str = ""
    """Why it could not be run again."""


@dataclass(frozen=True)
class Page:
    """Some of them, and the last dead letter that was looked at; empty when there are no more."""

    found: tuple[Again, ...]
    after: str


class DeadJobs:
    """One per front-door process."""

    def __init__(self, store: Store, jobs: Jobs, link: DirectorLink, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._jobs = jobs
        self._letters = DeadLetters(store)
        self._link = link
        self._now_ms = now_ms

    async def names(self, tenant: str, most: int, *, after: str = "") -> tuple[str, ...]:
        """Ids of a tenant's dead jobs behind that one, in their order, at most so many; some may be deleted."""
        return tuple([job async for job in self._letters.of(tenant, after=after, limit=most)])

    async def requeue(self, tenant: str, job: str) -> JobRecord:
        """Run it again. Raises `NotFound`, and `FailedPrecondition` for a job that is no dead letter, or was run again
        before as one that was deleted.
        """
        dead = await self._jobs.get(tenant, job)
        if not _is_dead(dead):
            raise FailedPrecondition(
                f"{job} is no dead letter: only jobs that failed by crashed workers or an internal error are run "
                "again; make a new video instead",
                reason="NO_DEAD_LETTER",
            )
        again = await self._again(dead)
        if again.state is JobState.DELETED:
            raise FailedPrecondition(f"{job} was run again as {again.id}, which was deleted: make a new video instead")
        return again

    async def requeue_page(self, tenant: str, wanted: Wanted, *, after: str, size: int, only_told: bool) -> Page:
        """Run the wanted ones of the next `size` dead letters again. `only_told`: say which, and do nothing.

        One that cannot be run again is told with the reason, and keeps no other.
        """
        found, last, seen = [], "", 0
        async for job in self._letters.of(tenant, after=after, limit=size):
            last, seen = job, seen + 1
            try:
                dead = await self._jobs.get(tenant, job)
            except (NotFound, Corrupt):  # it was deleted, or a later version wrote it
                continue
            if not await self._is_wanted(dead, wanted):
                continue
            try:
                again = None if only_told else await self._again(dead)
            except (AlreadyExists, Corrupt, FailedPrecondition) as error:
                found.append(Again(dead.id, None, error.message))
                continue
            if again is None or again.state is not JobState.DELETED:
                found.append(Again(dead.id, again.id if again else None))
        return Page(tuple(found), last if seen == size else "")

    async def _is_wanted(self, dead: JobRecord, wanted: Wanted) -> bool:
        if not _is_dead(dead) or (dead.finished_ms or 0) < wanted.since_ms:
            return False
        if wanted.code and (dead.error is None or dead.error.code != wanted.code):
            return False
        return not wanted.stage or await self._letters.stage_of(dead.tenant, dead.id) == wanted.stage

    async def _again(self, dead: JobRecord) -> JobRecord:
        """The job that does it again, which may have ended, or been deleted, if it was made before."""
        record = await self._made_before(dead) or (await self._jobs.create(self._anew(dead))).record
        if record.state is not JobState.DELETED:
            await self._note_as(dead, record)
        await self._letters.lift(dead)
        self._link.wake(record.tenant, record.id)
        return record

    async def _made_before(self, dead: JobRecord) -> JobRecord | None:
        # Earlier versions derived the id as that of an idempotency key, so it may be a create's that has this one.
        for again in (_id_for(dead), derived_id("vid_", dead.tenant, f"requeue/{dead.id}")):
            there = await self._jobs.newest(dead.tenant, again)
            if there is not None and there.requeue_of == dead.id:
                return there
        return None

    def _anew(self, dead: JobRecord) -> JobRecord:
        now = self._now_ms()
        return JobRecord(
            id=_id_for(dead),
            tenant=dead.tenant,
            api_key_id=dead.api_key_id,
            request=dead.request,
            plan=dead.plan,
            priority=dead.priority,
            created_ms=now,
            expires_ms=None if dead.expires_ms is None else now + dead.expires_ms - dead.created_ms,
            requeue_of=dead.id,
            traceparent=dead.traceparent,
            warnings=dead.warnings,
            events=(Event(kind=EventKind.CREATED, at_ms=now, text=f"in place of {dead.id}"),),
        )

    async def _note_as(self, dead: JobRecord, again: JobRecord) -> None:
        """The result is to be kept as the dead one's was. Harmless to repeat."""
        try:
            note = await self._store.get(keys.keep_note(dead.tenant, dead.id))
        except NotFound:
            return
        await self._store.put_if_absent(keys.keep_note(again.tenant, again.id), note.data)


def _id_for(dead: JobRecord) -> str:
    """Always the same, and no idempotency key's: no tenant has a slash in its name."""
    return derived_id("vid_", f"{dead.tenant}/requeue", dead.id)


def _is_dead(record: JobRecord) -> bool:
    return record.state is JobState.FAILED and record.error is not None and record.error.code in REQUEUED
