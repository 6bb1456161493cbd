"""Jobs that wait for their turn, as the names of `active/` keys and the records that were read tell them."""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from serving.jobs.active import Active
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord

AHEAD = 64
"""So many jobs of each tenant are looked at when the next ones are chosen; the rest of a long line is behind them."""
SOFT_MS = 600_000


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
    def key(self) -> JobKey:
        """Its tenant and id."""
        return self.tenant, self.job

    @property
    def order(self) -> tuple[int, float, int, str]:
        """Its place within its tenant, near enough to choose whom to look at.

        One without a deadline counts as due in a while, so that no stream of others keeps it out of sight for ever.
        """
        due = self.since_ms + SOFT_MS if self.deadline_ms is None else self.deadline_ms
        return self.priority, due, self.since_ms, self.job


class WaitingJobs:
    """One Director's; rebuilt from the store when it is lost. What is done per cycle does not grow with its length.

    Jobs without a pause stand in their tenant's lane. Heaps may hold jobs that are gone or have changed; they are
    skipped when they come up.
    """

    def __init__(self) -> None:
        self._waiting: dict[JobKey, Waiting] = {}
        self._lanes: dict[str, _Lane] = {}
        self._paused: list[tuple[float, JobKey]] = []
        self._deadlines: list[tuple[int, JobKey]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._waiting

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def found(self, active: Active, now_ms: int) -> None:
        """A key of the listing; its record is not read yet."""
        self._add(Waiting(active.tenant, active.id, active.priority, active.deadline_ms, now_ms))

    def put(self, record: JobRecord, not_before: float = 0.0) -> None:
        """A job that waits, as its record tells; a pause that it has stays."""
        known = self.take((record.tenant, record.id))
        pause = not_before or (known.not_before if known else 0.0)
        self._add(
            Waiting(record.tenant, record.id, record.priority, record.deadline_ms, record.created_ms, record, pause)
        )

    def take(self, key: JobKey) -> Waiting | None:
        """It waits no more."""
        waiting = self._waiting.pop(key, None)
        if waiting is not None and (lane := self._lanes.get(waiting.tenant)) is not None:
            lane.remove(waiting, self._waiting)
            if not lane.front:
                del self._lanes[waiting.tenant]
        return waiting

    def again(self, waiting: Waiting, not_before: float) -> None:
        """It waits on, until then at least."""
        self.take(waiting.key)
        self._add(replace(waiting, not_before=not_before))

    def ahead(self, now: float) -> list[Waiting]:
        """The jobs that may be next: of each tenant the first few that have no pause."""
        while self._paused and self._paused[0][0] <= now:
            not_before, key = heapq.heappop(self._paused)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.not_before == not_before:
                self._add(replace(waiting, not_before=0.0))
        return [waiting for lane in self._lanes.values() for waiting in lane.front]

    def back(self, waiting: Waiting) -> None:
        """It was taken, and nothing came of it: it waits as it did."""
        self.take(waiting.key)
        self._add(waiting)

    def due_still(self, waiting: Iterable[Waiting]) -> None:
        """These were told to be overdue, and nobody came to end them: they will be told again."""
        for late in waiting:
            if late.deadline_ms is not None:
                heapq.heappush(self._deadlines, (late.deadline_ms, late.key))

    def overdue(self, now_ms: int) -> list[Waiting]:
        """Those whose deadline has passed, each told once; the caller ends them, or says that they are due still."""
        late: list[Waiting] = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            deadline, key = heapq.heappop(self._deadlines)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.deadline_ms == deadline:
                late.append(waiting)
        return late

    def next_change(self, now: float, now_ms: int) -> float | None:
        """Seconds until a pause or a deadline ends, None if there is none."""
        pause = [self._paused[0][0] - now] if self._paused else []
        due = [(self._deadlines[0][0] - now_ms) / 1000] if self._deadlines else []
        return min((*pause, *due), default=None)

    def _add(self, waiting: Waiting) -> None:
        self._waiting[waiting.key] = waiting
        if waiting.deadline_ms is not None:
            heapq.heappush(self._deadlines, (waiting.deadline_ms, waiting.key))
        if waiting.not_before:
            heapq.heappush(self._paused, (waiting.not_before, waiting.key))
        else:
            self._lanes.setdefault(waiting.tenant, _Lane()).add(waiting)


class _Lane:
    """A tenant's jobs: the first few in order, the rest in a heap."""

    def __init__(self) -> None:
        self.front: list[Waiting] = []
        self._rest: list[tuple[tuple[int, float, int, str], JobKey]] = []

    def add(self, waiting: Waiting) -> None:
        if len(self.front) == AHEAD and self.front[-1].order < waiting.order:
            heapq.heappush(self._rest, (waiting.order, waiting.key))
            return
        insort(self.front, waiting, key=lambda job: job.order)
        if len(self.front) > AHEAD:
            last = self.front.pop()
            heapq.heappush(self._rest, (last.order, last.key))

    def remove(self, gone: Waiting, waiting: Mapping[JobKey, Waiting]) -> None:
        """Take a job out, and let the next ones of `waiting` move up."""
        self.front = [job for job in self.front if job.key != gone.key]
        while self._rest and len(self.front) < AHEAD:
            order, key = heapq.heappop(self._rest)
            job = waiting.get(key)
            if job is not None and job.order == order and not job.not_before and job not in self.front:
                self.front.append(job)
