"""Jobs that wait for their turn, as the names of `active/` keys and the records that were read tell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import nsmallest

from serving.jobs.record import JobRecord
from serving.jobs.repository import Active

Key = tuple[str, str]
"""Tenant and job."""

AHEAD = 64
"""So many jobs of each tenant are looked at when the next ones are chosen; the rest of a long line is behind them."""


@dataclass(frozen=True)
class Waiting:
    """A job that could run, as its `active/` key and the Director's memory tell it."""

    tenant: str
    job: str
    priority: int
    deadline_ms: int | None
    since_ms: int
    """When it was created, or first seen while its record is unread."""
    record: JobRecord | None = None
    """As last read; None for a job that only the listing told of."""
    not_before: float = 0.0
    """Monotonic seconds: a failed attempt waits a while."""

    @property
    def key(self) -> Key:
        """Tenant and id: no two jobs share both."""
        return self.tenant, self.job

    @property
    def order(self) -> tuple[int, float, int, str]:
        """Its place within its tenant, near enough to choose whom to look at."""
        due = float("inf") if self.deadline_ms is None else self.deadline_ms
        return self.priority, due, self.since_ms, self.job


class Line:
    """One Director's; rebuilt from the store when it is lost."""

    def __init__(self) -> None:
        self._waiting: dict[Key, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def found(self, active: Active, now_ms: int) -> None:
        """A key of the listing; its record is not read yet."""
        key = active.tenant, active.id
        self._waiting[key] = Waiting(active.tenant, active.id, active.priority, active.deadline_ms, now_ms)

    def put(self, record: JobRecord, not_before: float = 0.0) -> None:
        """A job that waits, as its record tells; a pause that it has stays."""
        key = record.tenant, record.id
        known = self._waiting.get(key)
        pause = not_before or (known.not_before if known else 0.0)
        self._waiting[key] = Waiting(
            record.tenant, record.id, record.priority, record.deadline_ms, record.created_ms, record, pause
        )

    def take(self, key: Key) -> Waiting | None:
        """It waits no more."""
        return self._waiting.pop(key, None)

    def again(self, waiting: Waiting, not_before: float) -> None:
        """It waits on, until then at least."""
        self._waiting[waiting.key] = replace(waiting, not_before=not_before)

    def ahead(self, now: float) -> list[Waiting]:
        """The jobs that may be next: of each tenant the first few that have no pause."""
        lanes: dict[str, list[Waiting]] = {}
        for waiting in self:
            if waiting.not_before <= now:
                lanes.setdefault(waiting.tenant, []).append(waiting)
        return [job for lane in lanes.values() for job in nsmallest(AHEAD, lane, key=lambda job: job.order)]

    def overdue(self, now_ms: int) -> list[Waiting]:
        """Those whose deadline has passed."""
        return [waiting for waiting in self if waiting.deadline_ms is not None and waiting.deadline_ms <= now_ms]

    def next_change(self, now: float, now_ms: int) -> float | None:
        """Seconds until a pause or a deadline ends, None if there is none."""
        pauses = [waiting.not_before - now for waiting in self if waiting.not_before > now]
        due = [w.deadline_ms for w in self if w.deadline_ms is not None and w.deadline_ms > now_ms]
        return min((*pauses, *((deadline - now_ms) / 1000 for deadline in due)), default=None)
