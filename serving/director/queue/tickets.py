"""What is known of the jobs that wait, in columns: there may be a million, and an object for each would be too much.

A job in line is one integer, its ticket: priority, deadline, age, a serial number and the row where the rest of it
stands. Tickets sort as their jobs do, a heap of them is compared without a line of Python, and none is ever given out
twice: one that has been taken back is known as such wherever it still lies. `waiting.py` keeps them, `lines.py` has
them in order.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from serving.estimates import Course
from serving.jobs.ids import JobKey

Ticket = int
"""From the highest bits on: priority | deadline | since | serial | row. Below 2**180 all take 48 bytes."""

UNREAD = ""
"""In the place of a model's name: that of the jobs whose records are unread."""

_ROW_BITS, _SERIAL_BITS, _TIME_BITS = 32, 40, 48
_SERIAL_AT = _ROW_BITS
_SINCE_AT = _SERIAL_AT + _SERIAL_BITS
_DEADLINE_AT = _SINCE_AT + _TIME_BITS
_PRIORITY_AT = _DEADLINE_AT + _TIME_BITS
_ROW, _TIME = (1 << _ROW_BITS) - 1, (1 << _TIME_BITS) - 1
_NO_DEADLINE = _TIME
_TAKEN = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that could run, as far as choosing and claiming it need; its record is read again when it is claimed."""

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
    def model(self) -> str:
        """`UNREAD` for a job that only the listing told of: its record says."""
        return UNREAD if self.course is None else self.course.model


def priority_of(ticket: Ticket) -> int:
    """0 to 9."""
    return ticket >> _PRIORITY_AT


def deadline_of(ticket: Ticket) -> int | None:
    """Unix milliseconds."""
    deadline_ms = ticket >> _DEADLINE_AT & _TIME
    return None if deadline_ms == _NO_DEADLINE else deadline_ms


class Tickets:
    """One Director's. A row is used again when its job is gone."""

    def __init__(self) -> None:
        self._standing: list[Ticket] = []
        """By row, as are the next four."""
        self._tenants: list[str] = []
        self._jobs: list[str] = []
        self._courses: list[Course | None] = []
        self._met = bytearray()
        """0: since the last round began nobody has met this job."""
        self._free = array("L")
        self._serial = 0

    def give(self, job: Waiting) -> Ticket:
        """It waits from now on; among its equals it is the last."""
        if self._free:
            row = self._free.pop()
            self._tenants[row], self._jobs[row], self._courses[row] = job.tenant, job.job, job.course
        else:
            row = len(self._standing)
            self._standing.append(_TAKEN)
            self._tenants.append(job.tenant)
            self._jobs.append(job.job)
            self._courses.append(job.course)
            self._met.append(1)
        self._serial += 1
        due = _NO_DEADLINE if job.deadline_ms is None else job.deadline_ms
        ticket = job.priority << _PRIORITY_AT | due << _DEADLINE_AT | job.since_ms << _SINCE_AT
        ticket |= self._serial << _SERIAL_AT | row
        self._standing[row] = ticket
        return ticket

    def take(self, ticket: Ticket) -> None:
        """It waits no more."""
        row = ticket & _ROW
        self._standing[row] = _TAKEN
        self._tenants[row] = self._jobs[row] = ""
        self._courses[row] = None
        self._met[row] = 1
        self._free.append(row)

    def stands(self, ticket: Ticket) -> bool:
        """Whether it was not taken back."""
        return self._standing[ticket & _ROW] == ticket

    def tenant(self, ticket: Ticket) -> str:
        """Whose job it is; of one that was taken back anything."""
        return self._tenants[ticket & _ROW]

    def read(self, ticket: Ticket) -> Waiting:
        """The job of a ticket that stands."""
        row = ticket & _ROW
        since_ms = ticket >> _SINCE_AT & _TIME
        return Waiting(
            self._tenants[row],
            self._jobs[row],
            priority_of(ticket),
            deadline_of(ticket),
            since_ms,
            self._courses[row],
        )

    def begin_round(self) -> None:
        """From now on it is noted who is met. Whoever comes later counts as met."""
        self._met = bytearray(len(self._met))
        for row in self._free:
            self._met[row] = 1

    def meet(self, ticket: Ticket) -> None:
        """It was met in this round."""
        self._met[ticket & _ROW] = 1

    def unmet(self) -> Iterator[Ticket]:
        """Those that were there when the round began and were not met in it."""
        row = self._met.find(0)
        while row >= 0:
            yield self._standing[row]
            row = self._met.find(0, row + 1)
