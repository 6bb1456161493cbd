"""The order of waiting work: which jobs start next. Pure; `director.py` asks it once per cycle.

Between tenants: the one with the fewest running jobs first, then the one that was served longest ago, so that nobody
waits for another's backlog. Within a tenant: priority (a smaller number is more urgent), deadline, age.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from serving.jobs.record import JobRecord
from serving.stages.contracts import Rank

NO_DEADLINE = 9_999_999_999_999
"""Milliseconds; sorts after every real deadline."""


@dataclass(frozen=True)
class Waiting:
    """A job that could run, as its `active/` key and the Director's memory tell it."""

    tenant: str
    job: str
    priority: int
    deadline_ms: int
    since_ms: int
    """When it was created, or first seen while its record is unread."""
    not_before: float = 0.0
    """Monotonic seconds: a failed attempt waits a while."""

    @property
    def key(self) -> tuple[str, str]:
        """Tenant and id: no two jobs share both."""
        return self.tenant, self.job

    @property
    def order(self) -> tuple[int, int, int, str]:
        """Its place within its tenant."""
        return self.priority, self.deadline_ms, self.since_ms, self.job


def choose(
    waiting: Iterable[Waiting],
    *,
    running: Mapping[str, int],
    served: Mapping[str, int],
    slots: int,
    now: float,
) -> list[Waiting]:
    """The jobs to start, best first, at most `slots`.

    `running` counts running jobs by tenant; `served` is a number by tenant that grew when it last got a slot.
    """
    lanes: dict[str, list[Waiting]] = {}
    for job in waiting:
        if job.not_before <= now:
            lanes.setdefault(job.tenant, []).append(job)
    for lane in lanes.values():
        lane.sort(key=lambda job: job.order, reverse=True)
    counts = {tenant: running.get(tenant, 0) for tenant in lanes}
    turns = {tenant: served.get(tenant, 0) for tenant in lanes}
    chosen: list[Waiting] = []
    latest = max(served.values(), default=0)
    while lanes and len(chosen) < slots:
        tenant = min(lanes, key=lambda name: (counts[name], turns[name], name))
        chosen.append(lanes[tenant].pop())
        latest += 1
        counts[tenant] += 1
        turns[tenant] = latest
        if not lanes[tenant]:
            del lanes[tenant]
    return chosen


def rank(record: JobRecord) -> Rank:
    """A running job's place at the Denoiser, where the lowest takes the next step: priority, then age."""
    return record.priority, record.created_ms
