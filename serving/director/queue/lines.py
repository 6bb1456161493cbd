"""Waiting jobs in order, each tenant's and all tenants' merged, of which only what is looked at is ever sorted.

`waiting.py` keeps two such lines: of jobs with deadlines and of those without. A job that is gone stays in its heap
until it comes up, or until most of the heap is such; so nothing grows with what has passed through.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from serving.estimates import Course
from serving.jobs.ids import JobKey

Order = tuple[int, int, int, str, str]

SPARE = 16
"""So many entries of a heap may be of jobs that are gone, besides as many as there are others."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A job that could run, as far as choosing and claiming it need; its record is read again when it is claimed.

    There may be a million, so it holds no more than this, and shares what it can.
    """

    tenant: str
    job: str
    priority: int
    deadline_ms: int | None
    since_ms: int
    """When it was created, or first seen while its record is unread."""
    course: Course | None = None
    """None for a job that only the listing told of."""

    @property
    def key(self) -> JobKey:
        """Its tenant and id."""
        return self.tenant, self.job

    @property
    def order(self) -> Order:
        """Its place in a line: by priority, then by deadline, or by age where there is none."""
        when = self.since_ms if self.deadline_ms is None else self.deadline_ms
        return self.priority, when, self.since_ms, self.tenant, self.job

    def __lt__(self, other: Waiting) -> bool:
        return self.order < other.order


_Place = tuple[Order, Waiting, Iterator[Waiting]]
"""A job in its order, and those behind it."""


def in_order(heap: list[Waiting]) -> Iterator[Waiting]:
    """A heap's jobs from the first on, without taking any out."""
    front = [(job.order, 0) for job in heap[:1]]
    while front:
        _, place = heapq.heappop(front)
        yield heap[place]
        for below in range(2 * place + 1, min(2 * place + 3, len(heap))):
            heapq.heappush(front, (heap[below].order, below))


@dataclass(slots=True)
class _Line:
    """One tenant's of one priority; the first of its heap is always a job that stands."""

    heap: list[Waiting] = field(default_factory=list)
    standing: int = 0


class Lines:
    """See the module."""

    def __init__(self, stands: Callable[[Waiting], bool]) -> None:
        """`stands`: whether this job is still in line; it is told no more before `remove` is called."""
        self._stands = stands
        self._lines: dict[str, dict[int, _Line]] = {}
        """By tenant and priority."""
        self._heads: list[Waiting] = []
        """The first job of each line; others that were first, too."""
        self._count = 0

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._lines

    def add(self, job: Waiting) -> None:
        """It stands in line from now on."""
        lines = self._lines.setdefault(job.tenant, {})
        if job.priority not in lines:
            lines[job.priority] = _Line()
            self._count += 1
        line = lines[job.priority]
        line.standing += 1
        heapq.heappush(line.heap, job)
        if line.heap[0] is job:
            self._lead(job)

    def remove(self, gone: Waiting) -> None:
        """It stands in line no more."""
        line = self._lines[gone.tenant][gone.priority]
        line.standing -= 1
        if not line.standing:
            self._close(gone.tenant, gone.priority)
            return
        first = line.heap[0]
        while not self._stands(line.heap[0]):
            heapq.heappop(line.heap)
        if len(line.heap) > 2 * line.standing + SPARE:
            line.heap = [job for job in line.heap if self._stands(job)]
            heapq.heapify(line.heap)
        if line.heap[0] is not first:
            self._lead(line.heap[0])

    def of(self, tenant: str) -> Iterator[Waiting]:
        """One tenant's jobs, in order."""
        for _, line in sorted(self._lines.get(tenant, {}).items()):
            yield from self._standing(line)

    def first_of(self, tenant: str) -> list[Waiting]:
        """One tenant's first job of each priority."""
        return [line.heap[0] for line in self._lines.get(tenant, {}).values()]

    def merged(self, admits: Callable[[str], bool], *, each: int, heads: int) -> Iterator[Waiting]:
        """The jobs of all tenants that are admitted, in order: of each and each priority at most the first `each`.

        No more than `heads` lines are begun or passed over.
        """
        front: list[_Place] = []
        for head in islice(self._first_ones(), heads):
            while front and front[0][0] < head.order:
                yield _next_of(front)
            if admits(head.tenant):
                rest = islice(self._standing(self._lines[head.tenant][head.priority]), each)
                heapq.heappush(front, (head.order, next(rest), rest))
        while front:
            yield _next_of(front)

    def _standing(self, line: _Line) -> Iterator[Waiting]:
        return filter(self._stands, in_order(line.heap))

    def _first_ones(self) -> Iterator[Waiting]:
        last: Waiting | None = None
        for job in in_order(self._heads):
            if job is not last and self._leads(job):
                last = job
                yield job

    def _leads(self, job: Waiting) -> bool:
        line = self._lines.get(job.tenant, {}).get(job.priority)
        return line is not None and line.heap[0] is job

    def _lead(self, job: Waiting) -> None:
        """It is the first of its line now."""
        heapq.heappush(self._heads, job)
        if len(self._heads) > 2 * self._count + SPARE:
            self._heads = [line.heap[0] for lines in self._lines.values() for line in lines.values()]
            heapq.heapify(self._heads)

    def _close(self, tenant: str, priority: int) -> None:
        """Nobody stands in this line any more."""
        del self._lines[tenant][priority]
        self._count -= 1
        if not self._lines[tenant]:
            del self._lines[tenant]


def _next_of(front: list[_Place]) -> Waiting:
    """The first job of all; the next one of its line takes its place."""
    _, job, rest = front[0]
    following = next(rest, None)
    if following is None:
        heapq.heappop(front)
    else:
        heapq.heapreplace(front, (following.order, following, rest))
    return job
