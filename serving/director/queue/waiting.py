"""Jobs that wait for their turn, as the names of `active/` keys and the records that were read tell them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterator
from itertools import chain, islice
from sys import intern
from weakref import WeakValueDictionary

from serving.director.queue.lines import SPARE, ModelLine
from serving.director.queue.tickets import Ticket, Tickets, Waiting, deadline_of, priority_of
from serving.estimates import Course
from serving.jobs.active import Active
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord

PASSED_AT_ONCE = 5000
"""So many deadlines are seen to have passed in one look: all of a long line may fall due at the same moment."""


TenantsWork = tuple[str, str]
"""A tenant, and the model that its jobs wait for."""


class WaitingJobs:
    """One Director's; rebuilt from the store when it is lost. What is done per cycle does not grow with its length.

    Jobs without a pause stand in line, those of each model in one of its own, and in another one those of which only
    the listing told. Heaps may hold jobs that are gone or have changed; they are skipped when they come up.
    """

    def __init__(self) -> None:
        self._tickets = Tickets()
        self._jobs: dict[str, dict[str, Ticket]] = {}
        """By tenant and id: two levels are smaller than one of pairs."""
        self._count = 0
        self._lines: dict[str, ModelLine] = {}
        self._changed: set[TenantsWork] = set()
        self._courses: WeakValueDictionary[Course, Course] = WeakValueDictionary()
        self._pauses: dict[JobKey, float] = {}
        """Monotonic seconds, by job: a failed attempt waits a while."""
        self._paused: list[tuple[float, Ticket]] = []
        self._deadlines: dict[int, list[Ticket]] = {}
        """A heap for each priority, whose order is that of the deadlines."""
        self._with_deadline = 0
        self._late: dict[str, deque[Ticket]] = {}
        """Those whose deadline was seen to have passed and who were not told yet, by tenant; the first is the next."""
        self._cancelled: set[JobKey] = set()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: JobKey) -> bool:
        return key[1] in self._jobs.get(key[0], ())

    def __iter__(self) -> Iterator[Waiting]:
        return map(self._tickets.read, chain.from_iterable(jobs.values() for jobs in self._jobs.values()))

    def not_of(self, models: Collection[str]) -> list[str]:
        """The other models that jobs wait for."""
        return [model for model, line in self._lines.items() if line.count and model not in models]

    def line(self, model: str) -> ModelLine:
        """Of this model."""
        if model not in self._lines:
            self._lines[model] = ModelLine(model, self._tickets)
        return self._lines[model]

    def some(self, model: str, most: int) -> list[Waiting]:
        """So many of its jobs, or fewer, as they come; those with a pause last."""
        paused = map(self._tickets.read, filter(self._tickets.stands, (ticket for _, ticket in self._paused)))
        return list(islice(chain(self.line(model), (job for job in paused if job.model == model)), most))

    def found(self, active: Active, now_ms: int) -> None:
        """A key of the listing; its record is not read yet."""
        self._add(Waiting(intern(active.tenant), active.id, active.priority, active.deadline_ms, now_ms))

    def put(self, record: JobRecord, not_before: float = 0.0) -> None:
        """A job that waits, as its record tells; a pause that it has stays."""
        pause = not_before or self._pauses.get(record.key, 0.0)
        self.take(record.key)
        course = Course.of(record.plan, record.steps_done)
        course = self._courses.setdefault(course, course)
        tenant, job = intern(record.tenant), record.id
        self._add(Waiting(tenant, job, record.priority, record.deadline_ms, record.created_ms, course), pause)
        if record.cancel_requested:
            self._cancelled.add(record.key)

    def take(self, key: JobKey) -> Waiting | None:
        """It waits no more."""
        tenant, job = key
        jobs = self._jobs.get(tenant, {})
        ticket = jobs.pop(job, None)
        if ticket is None:
            return None
        if not jobs:
            del self._jobs[tenant]
        waiting = self._tickets.read(ticket)
        self._tickets.take(ticket)
        line = self.line(waiting.model)
        self._count -= 1
        line.count -= 1
        self._cancelled.discard(key)
        self._with_deadline -= waiting.deadline_ms is not None
        if self._pauses.pop(key, None) is None:
            line.of(waiting).remove(tenant, ticket)
            if tenant not in line:
                self._changed.add((tenant, line.model))
        return waiting

    def again(self, waiting: Waiting, not_before: float) -> None:
        """It waits on, until then at least."""
        cancelled = waiting.key in self._cancelled
        self.take(waiting.key)
        self._add(waiting, not_before)
        if cancelled:
            self._cancelled.add(waiting.key)

    def resume(self, now: float) -> None:
        """Jobs whose pause is over stand in line again."""
        while self._paused and self._paused[0][0] <= now:
            _, ticket = heapq.heappop(self._paused)
            if self._tickets.stands(ticket):
                self.again(self._tickets.read(ticket), 0.0)

    def changed(self) -> set[TenantsWork]:
        """The tenants that came into a model's line or left it since this was last asked."""
        changed, self._changed = self._changed, set()
        return changed

    def overdue(self, now_ms: int, most: int) -> list[Waiting]:
        """At most so many of those whose deadline has passed, of the tenants in turn; the caller ends them.

        Each is told once. Of a great many some are only seen by the next look, which is due at once then.
        """
        passed = 0
        for heap in self._deadlines.values():
            while heap and _due(heap[0]) <= now_ms and passed < PASSED_AT_ONCE:
                ticket = heapq.heappop(heap)
                passed += 1
                if self._tickets.stands(ticket):
                    self._late.setdefault(self._tickets.tenant(ticket), deque()).append(ticket)
        told: list[Waiting] = []
        while self._late and len(told) < most:
            tenant = next(iter(self._late))
            tickets = self._late.pop(tenant)
            ticket = tickets.popleft()
            if tickets:
                self._late[tenant] = tickets  # behind all others
            if self._tickets.stands(ticket):
                told.append(self._tickets.read(ticket))
        return told

    def cancelled(self) -> list[Waiting]:
        """Those that their users do not want any more, told until they are taken. They ran once, or they would have
        been ended by whoever asked for it."""
        return [self._tickets.read(self._jobs[tenant][job]) for tenant, job in sorted(self._cancelled)]

    def next_change(self, now: float, now_ms: int) -> float | None:
        """Seconds until a pause or a deadline ends, None if there is none."""
        pause = [self._paused[0][0] - now] if self._paused else []
        due = [(_due(heap[0]) - now_ms) / 1000 for heap in self._deadlines.values() if heap]
        return min((*pause, *due), default=None)

    def listing_begins(self) -> None:
        """From now on it is noted who is `listed`."""
        self._tickets.begin_round()

    def listed(self, key: JobKey) -> bool:
        """The listing has this key. Whether such a job waits."""
        ticket = self._jobs.get(key[0], {}).get(key[1])
        if ticket is None:
            return False
        self._tickets.meet(ticket)
        return True

    def unlisted(self) -> list[JobKey]:
        """Those that have waited since before the listing began and were not in it."""
        return [self._tickets.read(ticket).key for ticket in self._tickets.unmet()]

    def _add(self, waiting: Waiting, not_before: float = 0.0) -> None:
        ticket = self._tickets.give(waiting)
        self._jobs.setdefault(waiting.tenant, {})[waiting.job] = ticket
        line = self.line(waiting.model)
        self._count += 1
        line.count += 1
        if waiting.deadline_ms is not None:
            self._with_deadline += 1
            self._watch(ticket)
        if not_before:
            self._pauses[waiting.key] = not_before
            heapq.heappush(self._paused, (not_before, ticket))
            return
        if waiting.tenant not in line:
            self._changed.add((waiting.tenant, line.model))
        line.of(waiting).add(waiting.tenant, ticket)

    def _watch(self, ticket: Ticket) -> None:
        """Its deadline will be told."""
        heapq.heappush(self._deadlines.setdefault(priority_of(ticket), []), ticket)
        if sum(map(len, self._deadlines.values())) > 2 * self._with_deadline + SPARE:
            for heap in self._deadlines.values():
                heap[:] = filter(self._tickets.stands, heap)
                heapq.heapify(heap)


def _due(ticket: Ticket) -> int:
    deadline_ms = deadline_of(ticket)
    assert deadline_ms is not None, "only jobs with a deadline are watched"
    return deadline_ms
