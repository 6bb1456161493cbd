"""When a roll-out that failed is tried again. `host.py` asks.

Serve keeps the old replicas when the new ones do not start, and tries no more. Whatever kept them from starting may be
right a minute later, and nobody is there to ask for another roll-out.
"""

from __future__ import annotations

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 1800.0
"""Between two tries: each replaces the replicas of the sound stages too."""


class RollOut:
    """The newest one. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._again_at = float("inf")
        self._pause_s = FIRST_PAUSE_S

    def asked(self) -> None:
        """Somebody asks for one: what kept the last one from its end may be mended."""
        self._pause_s = FIRST_PAUSE_S

    def succeeded(self) -> None:
        """Every replica is a new one."""
        self._again_at, self._pause_s = float("inf"), FIRST_PAUSE_S

    def failed(self, now: float) -> float:
        """It failed; returns after how many seconds it is tried again."""
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._again_at = now + pause
        return pause

    def due(self, now: float) -> bool:
        """Whether it is to be tried again now."""
        return now >= self._again_at
