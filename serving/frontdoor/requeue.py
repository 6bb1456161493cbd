"""Dead letters from the outside: a job whose workers crashed is run again as a new one. `surfaces/longtake/jobs.py`
calls it.

Terminal states are final, so the dead job stays as it is, and a new one with the same request, plan and seed takes its
place. Its id is derived from the dead one's, so asking twice makes one job.
"""

from __future__ import annotations

from collections.abc import Callable

from serving.errors import FailedPrecondition
from serving.frontdoor.follow.director_link import DirectorLink
from serving.jobs.dead import DeadLetters
from serving.jobs.history import Event, EventKind
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs

REQUEUED = ("WORKERS_CRASHED", "INTERNAL")
"""Error codes of failures that were no fault of the caller."""


class DeadJobs:
    """One per front-door process."""

    def __init__(self, jobs: Jobs, letters: DeadLetters, link: DirectorLink, now_ms: Callable[[], int]) -> None:
        self._jobs = jobs
        self._letters = letters
        self._link = link
        self._now_ms = now_ms

    async def names(self, tenant: str, most: int) -> tuple[str, ...]:
        """Ids of a tenant's dead jobs, at most so many; some may be deleted."""
        found: list[str] = []
        async for job in self._letters.of(tenant):
            found.append(job)
            if len(found) == most:
                break
        return tuple(found)

    async def requeue(self, tenant: str, job: str) -> JobRecord:
        """Run it again. Raises `NotFound`, and `FailedPrecondition` for a job that is no dead letter."""
        dead = await self._jobs.get(tenant, job)
        if dead.state is not JobState.FAILED or dead.error is None or dead.error.code not in REQUEUED:
            raise FailedPrecondition(
                f"{job} is no dead letter: only jobs that failed by crashed workers or an internal error are run "
                "again; make a new video instead",
                reason="NO_DEAD_LETTER",
            )
        now = self._now_ms()
        again = JobRecord(
            id=derived_id("vid_", tenant, f"requeue/{job}"),
            tenant=tenant,
            api_key_id=dead.api_key_id,
            request=dead.request,
            plan=dead.plan,
            priority=dead.priority,
            created_ms=now,
            requeue_of=job,
            warnings=dead.warnings,
            events=(Event(kind=EventKind.CREATED, at_ms=now, text=f"in place of {job}"),),
        )
        record, _ = await self._jobs.create(again)
        await self._letters.lift(dead)
        self._link.wake(tenant, record.id)
        return record
