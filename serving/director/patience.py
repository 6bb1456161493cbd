"""The Director's wall clock: one that jumps is not believed at once, for what is EXPIRED does not come back.

`deployments/director_replica.py` makes one and hands it in. Deadlines are moments of the wall clock, and that may be
set wrong for a while: by a time server that errs, by an operator, by a virtual machine that was moved.
"""

from __future__ import annotations

from collections.abc import Callable

from serving.logs import logger

ALLOWED_MS = 1_000
"""Corrections up to this are followed at once."""
BELIEVED_AFTER_MS = 60_000
"""A wall clock that stayed elsewhere for so long is right, and we were wrong."""

_log = logger("director")


class PatientClock:
    """Milliseconds since 1970: the wall clock's, and while that is elsewhere, those that passed since it was not.

    Nothing is ended before its time while the clock is in doubt, and what is in time goes on being ended in time.
    """

    def __init__(self, wall_ms: Callable[[], int], running_ms: Callable[[], int]) -> None:
        """`running_ms`: milliseconds since some moment, by a clock that nobody sets."""
        self._wall_ms = wall_ms
        self._running_ms = running_ms
        self._apart_ms = wall_ms() - running_ms()
        self._doubted: tuple[int, int] | None = None
        """Since when, by the running clock, and how far apart the two were then."""

    def __call__(self) -> int:
        """Now."""
        running = self._running_ms()
        apart = self._wall_ms() - running
        if abs(apart - self._apart_ms) <= ALLOWED_MS:
            if self._doubted is not None:
                _log.warning("the wall clock is back: deadlines go by it again")
            self._apart_ms, self._doubted = apart, None
        elif self._doubted is None or abs(apart - self._doubted[1]) > ALLOWED_MS:
            self._doubted = running, apart
            _log.warning(
                "the wall clock was set: it is not believed yet, and deadlines go on as before",
                by_s=round((apart - self._apart_ms) / 1000, 1),
                believed_in_s=BELIEVED_AFTER_MS // 1000,
            )
        elif running - self._doubted[0] >= BELIEVED_AFTER_MS:
            _log.warning("the wall clock stayed where it was set: deadlines go by it from now on")
            self._apart_ms, self._doubted = apart, None
        return running + self._apart_ms
