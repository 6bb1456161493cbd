"""Whether one more job may queue, and when a refused client ought to come back. Pure; `gate.py` asks.

The bounds are those of the settings group `admission`: jobs of one tenant, jobs of all tenants, how urgent a tenant's
jobs may be, and deadlines that can be met. How often a tenant may ask is bounded elsewhere (`rate.py`), for that needs
a memory. Times after which to come back are what the queue is predicted to need; nothing is added to spread clients,
and nothing is rounded down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from serving.errors import FailedPrecondition, PermissionDenied, ResourceExhausted
from serving.jobs.history import Prediction

LEAST_RETRY_S = 1.0
"""Nobody is asked to come back sooner."""


@dataclass(frozen=True)
class Limits:
    """What one tenant may have, as the settings say."""

    tenant: str = ""
    max_active_jobs: int = 10_000
    max_all_jobs: int = 100_000
    most_urgent: int = 1
    creates_per_minute: float | None = None
    max_stored_bytes: int | None = None


@dataclass(frozen=True)
class Occupancy:
    """How full the queue is, near enough."""

    active: int
    """Queued and running jobs of the tenant."""
    all_active: int
    """The same of all tenants."""
    tenant_job_s: float
    """Seconds after which the next of the tenant's jobs is predicted to end, and again the next."""
    all_job_s: float
    """The same of all tenants' jobs."""
    seen_again_s: float = 0.0
    """Seconds until this front door looks again how full it is: sooner than that, it would refuse again."""


def admit(limits: Limits, full: Occupancy) -> None:
    """Raise `ResourceExhausted` when the tenant's queue, or everybody's, is full."""
    if full.active >= limits.max_active_jobs:
        wait = _wait((full.active - limits.max_active_jobs + 1) * full.tenant_job_s, full.seen_again_s)
        raise ResourceExhausted(
            f"your queue is full: {full.active} of your jobs are queued or running and {limits.max_active_jobs} is the "
            f"most (setting `admission.max_active_jobs`); a place is expected to be free in {in_words(wait)}",
            retry_after_s=wait,
            reason="QUEUE_FULL",
        )
    if full.all_active >= limits.max_all_jobs:
        wait = _wait((full.all_active - limits.max_all_jobs + 1) * full.all_job_s, full.seen_again_s)
        raise ResourceExhausted(
            f"the queue of all tenants is full: {limits.max_all_jobs} jobs is the most (setting "
            f"`admission.max_all_jobs`); a place is expected to be free in {in_words(wait)}",
            retry_after_s=wait,
            reason="QUEUE_FULL",
        )


def check_priority(limits: Limits, priority: int, field: str) -> None:
    """Raise `PermissionDenied` for a priority that is more urgent than this tenant's jobs may be."""
    if priority < limits.most_urgent:
        raise PermissionDenied(
            f"{field}: {priority} is more urgent than your jobs may be: ask for {limits.most_urgent} to 9, or have an "
            f"operator lower `admission.tenants.{limits.tenant}.most_urgent`",
            reason="PRIORITY_NOT_ALLOWED",
        )


def check_deadline(deadline_ms: int | None, predicted: Prediction, alone_s: float, now_ms: int, field: str) -> None:
    """Refuse a deadline that cannot be met: ever, or while so much is ahead.

    `alone_s`: seconds that the job takes when nothing else is there. Where that alone is too long, waiting helps
    nobody: FAILED_PRECONDITION. Where the queue is in the way it is RESOURCE_EXHAUSTED, with the time after which a
    client that leaves as much time as now would be taken.
    """
    if deadline_ms is None or predicted.end_ms <= deadline_ms:
        return
    if now_ms + 1000 * alone_s > deadline_ms:
        raise FailedPrecondition(
            f"{field}: the work alone takes about {in_words(alone_s)}, and there are "
            f"{in_words((deadline_ms - now_ms) / 1000)} left: give it more time, or ask for less",
            reason="DEADLINE_TOO_SHORT",
        )
    late = (predicted.end_ms - deadline_ms) / 1000
    wait = _wait(late, 0.0)
    raise ResourceExhausted(
        f"{field}: with what is queued the video would be done {in_words(late)} too late: give it that much more time, "
        f"or come back in {in_words(wait)} and leave as much time as now",
        retry_after_s=wait,
        reason="DEADLINE_UNREACHABLE",
    )


def served_after(own_s: float, others: Iterable[tuple[float, float]], servers: int) -> float:
    """Seconds until `own_s` seconds of one tenant's work are done, under weighted fair shares.

    `others`: of each other tenant its waiting work in seconds, and its weight over this tenant's. While our work is
    done, each of them gets its share and never more than it has.
    """
    return (own_s + sum(min(work_s, ratio * own_s) for work_s, ratio in others)) / servers


def in_words(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `12 s`, `3 min`, `2.5 h`. Never less than there are."""
    if seconds < 10:
        return f"{math.ceil(seconds * 10) / 10:.1f} s"
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7200:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 360) / 10:.1f} h"


def _wait(seconds: float, at_least_s: float) -> float:
    return max(seconds, at_least_s, LEAST_RETRY_S)
