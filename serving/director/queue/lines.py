"""Waiting jobs in order, each tenant's and all tenants' merged, of which only what is looked at is ever sorted.

`waiting.py` keeps two such lines for each model: of jobs with deadlines and of those without. A job that is gone stays
in its heap until it comes up, or until most of the heap is such; so nothing grows with what has passed through.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from serving.director.queue.tickets import Ticket, Tickets, Waiting, priority_of

SPARE = 16
"""So many entries of a heap may be of jobs that are gone, besides as many as there are others."""

_Place = tuple[Ticket, Iterator[Ticket]]
"""A job, and those behind it."""


def in_order(heap: list[Ticket]) -> Iterator[Ticket]:
    """A heap's tickets from the first on, without taking any out."""
    front = [(ticket, 0) for ticket in heap[:1]]
    while front:
        ticket, place = heapq.heappop(front)
        yield ticket
        for below in range(2 * place + 1, min(2 * place + 3, len(heap))):
            heapq.heappush(front, (heap[below], below))


@dataclass(slots=True)
class _Line:
    """One tenant's of one priority; the first of its heap is always a job that stands."""

    heap: list[Ticket] = field(default_factory=list)
    standing: int = 0


class Lines:
    """See the module."""

    def __init__(self, tickets: Tickets) -> None:
        """`tickets`: who stands; one that is in line here is taken back there before `remove` is called."""
        self._tickets = tickets
        self._lines: dict[str, dict[int, _Line]] = {}
        """By tenant and priority."""
        self._heads: list[Ticket] = []
        """The first job of each line, in order. A list, for it is looked at far more often than it changes; and to move
        the rest of it takes microseconds with 10,000 tenants."""

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._lines

    def add(self, tenant: str, job: Ticket) -> None:
        """It stands in line from now on."""
        lines = self._lines.setdefault(tenant, {})
        priority = priority_of(job)
        if priority not in lines:
            lines[priority] = _Line()
        line = lines[priority]
        first = line.heap[:1]
        line.standing += 1
        heapq.heappush(line.heap, job)
        self._lead(first, line.heap[:1])

    def remove(self, tenant: str, gone: Ticket) -> None:
        """It stands in line no more."""
        priority, stands = priority_of(gone), self._tickets.stands
        line = self._lines[tenant][priority]
        line.standing -= 1
        first = line.heap[:1]
        while line.heap and not stands(line.heap[0]):
            heapq.heappop(line.heap)
        self._lead(first, line.heap[:1])
        if len(line.heap) > 2 * line.standing + SPARE:
            line.heap = list(filter(stands, line.heap))
            heapq.heapify(line.heap)
        if not line.standing:
            self._close(tenant, priority)

    def tenants(self) -> list[str]:
        """Those that have jobs here."""
        return list(self._lines)

    def of(self, tenant: str) -> Iterator[Waiting]:
        """One tenant's jobs, in order."""
        for _, line in sorted(self._lines.get(tenant, {}).items()):
            yield from map(self._tickets.read, self._standing(line))

    def first_of(self, tenant: str) -> list[Waiting]:
        """One tenant's first job of each priority."""
        return [self._tickets.read(line.heap[0]) for line in self._lines.get(tenant, {}).values()]

    def merged(self, admits: Callable[[str], bool], *, each: int, heads: int) -> Iterator[Waiting]:
        """The jobs of all tenants that are admitted, in order: of each and each priority at most the first `each`.

        No more than `heads` lines are begun or passed over.
        """
        front: list[_Place] = []
        for head in islice(self._heads, heads):
            while front and front[0][0] < head:
                yield self._next_of(front)
            tenant = self._tickets.tenant(head)
            if admits(tenant):
                rest = islice(self._standing(self._lines[tenant][priority_of(head)]), each)
                heapq.heappush(front, (next(rest), rest))
        while front:
            yield self._next_of(front)

    def _next_of(self, front: list[_Place]) -> Waiting:
        """The first job of all; the next one of its line takes its place."""
        job, rest = front[0]
        following = next(rest, None)
        if following is None:
            heapq.heappop(front)
        else:
            heapq.heapreplace(front, (following, rest))
        return self._tickets.read(job)

    def _standing(self, line: _Line) -> Iterator[Ticket]:
        return filter(self._tickets.stands, in_order(line.heap))

    def _lead(self, before: list[Ticket], now: list[Ticket]) -> None:
        """Who was the first of a line and who is it now; none of a line that is empty."""
        if before == now:
            return
        for job in before:
            del self._heads[bisect_left(self._heads, job)]
        for job in now:
            insort(self._heads, job)

    def _close(self, tenant: str, priority: int) -> None:
        """Nobody stands in this line any more."""
        del self._lines[tenant][priority]
        if not self._lines[tenant]:
            del self._lines[tenant]


class ModelLine:
    """The waiting jobs of one model."""

    def __init__(self, model: str, tickets: Tickets) -> None:
        """`model`: no name stands for jobs whose records are unread."""
        self.model = model
        self.dated = Lines(tickets)
        """Those with a deadline."""
        self.undated = Lines(tickets)
        self.count = 0
        """Those with a pause included, which are not in line."""

    def __contains__(self, tenant: str) -> bool:
        """Whether it has a job without a pause."""
        return tenant in self.dated or tenant in self.undated

    def __iter__(self) -> Iterator[Waiting]:
        """Those without a pause, each tenant's together."""
        for lines in (self.dated, self.undated):
            for tenant in lines.tenants():
                yield from lines.of(tenant)

    def of(self, job: Waiting) -> Lines:
        """Where such a job stands."""
        return self.undated if job.deadline_ms is None else self.dated
