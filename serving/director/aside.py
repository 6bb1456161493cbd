"""Jobs that are set aside for a while: keys without a record, records that cannot be read or run. Pure.

Each time for longer, so that thousands of them cost nothing; a hint (`lookout.py`) brings a job back at once. For ever
it is never: the create may be under way, the record's reader may be installed tomorrow, and the fault may have passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from serving.jobs.ids import JobKey

FIRST_S = 2.0
LONGEST_S = 300.0


@dataclass(frozen=True)
class _Pause:
    ends: float
    seconds: float
    since: float
    """When it was set aside for the first time."""


class Aside:
    """One Director's. Times are the loop's seconds."""

    def __init__(self) -> None:
        self._pauses: dict[JobKey, _Pause] = {}

    def __len__(self) -> int:
        return len(self._pauses)

    def __iter__(self) -> Iterator[JobKey]:
        return iter(self._pauses)

    def __contains__(self, key: JobKey) -> bool:
        """Whether it was set aside, also when its pause is over."""
        return key in self._pauses

    def put(self, key: JobKey, now: float) -> None:
        """For `FIRST_S`, and each time twice as long as the last time, to `LONGEST_S`."""
        last = self._pauses.get(key)
        seconds = FIRST_S if last is None else min(LONGEST_S, 2 * last.seconds)
        self._pauses[key] = _Pause(now + seconds, seconds, now if last is None else last.since)

    def holds(self, key: JobKey, now: float) -> bool:
        """Whether it is not to be looked at yet."""
        pause = self._pauses.get(key)
        return pause is not None and now < pause.ends

    def known_s(self, key: JobKey, now: float) -> float:
        """Seconds since it was set aside for the first time; 0.0 if it never was."""
        pause = self._pauses.get(key)
        return 0.0 if pause is None else now - pause.since

    def clear(self, key: JobKey) -> None:
        """It is looked at again, and counts as never set aside."""
        self._pauses.pop(key, None)

    def drop(self, gone: Iterable[JobKey]) -> None:
        """They are gone from the store."""
        for key in gone:
            self.clear(key)
