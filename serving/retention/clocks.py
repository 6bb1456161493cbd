"""A wall clock that is believed only while nobody sets it: what is deleted by its age does not come back.

Two clocks are compared, each with another: this machine's with its own running time here, and with the store's in
`collect.py`. `__main__.py` makes one at the start of its life.
"""

from __future__ import annotations

from collections.abc import Callable

from serving.errors import FailedPrecondition


class CheckedClock:
    """Milliseconds since 1970, unless the clock was set since this was made."""

    def __init__(self, now_ms: Callable[[], int], running_ms: Callable[[], int], *, allowed_s: float) -> None:
        """`allowed_s`: how far it may be set, as clocks are when they are corrected."""
        self._now_ms = now_ms
        self._running_ms = running_ms
        self._allowed_s = allowed_s
        self._apart_ms = now_ms() - running_ms()

    def __call__(self) -> int:
        """Now. Raises `FailedPrecondition` when the clock has jumped."""
        now = self._now_ms()
        jump_s = (now - self._running_ms() - self._apart_ms) / 1000
        if abs(jump_s) > self._allowed_s:
            raise FailedPrecondition(
                f"nothing is collected: this machine's clock was set by {jump_s:+.0f} s; set it right, "
                "or start Longtake again if it is right now"
            )
        return now


def agreed(now_ms: int, store_ms: int, *, allowed_s: float) -> None:
    """Raises `FailedPrecondition` when our clock and the store's differ by more."""
    apart_s = (now_ms - store_ms) / 1000
    if abs(apart_s) > allowed_s:
        raise FailedPrecondition(
            f"nothing is collected: this machine's clock is {apart_s:+.0f} s from the store's; set the wrong one right"
        )
