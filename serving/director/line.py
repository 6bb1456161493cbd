"""Jobs that wait for their turn, as the names of `active/` keys and the records that were read tell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from serving.director.queue import NO_DEADLINE, Waiting
from serving.jobs.record import JobRecord
from serving.jobs.repository import Active

Key = tuple[str, str]
"""Tenant and job."""


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
        deadline = active.deadline_ms or NO_DEADLINE
        self._waiting[active.tenant, active.id] = Waiting(active.tenant, active.id, active.priority, deadline, now_ms)

    def put(self, record: JobRecord, not_before: float = 0.0) -> None:
        """A job that waits, as its record tells; a pause that it has stays."""
        key = record.tenant, record.id
        known = self._waiting.get(key)
        deadline = record.deadline_ms or NO_DEADLINE
        waiting = Waiting(record.tenant, record.id, record.priority, deadline, record.created_ms, not_before)
        self._waiting[key] = replace(waiting, not_before=known.not_before) if known and not not_before else waiting

    def take(self, key: Key) -> Waiting | None:
        """It waits no more."""
        return self._waiting.pop(key, None)

    def again(self, waiting: Waiting, not_before: float) -> None:
        """It waits on, until then at least."""
        self._waiting[waiting.key] = replace(waiting, not_before=not_before)

    def overdue(self, now_ms: int) -> list[Waiting]:
        """Those whose deadline has passed."""
        return [waiting for waiting in self if waiting.deadline_ms <= now_ms]

    def next_change(self, now: float, now_ms: int) -> float | None:
        """Seconds until a pause or a deadline ends, None if there is none."""
        pauses = [waiting.not_before - now for waiting in self if waiting.not_before > now]
        deadlines = [(w.deadline_ms - now_ms) / 1000 for w in self if now_ms < w.deadline_ms < NO_DEADLINE]
        return min((*pauses, *deadlines), default=None)
