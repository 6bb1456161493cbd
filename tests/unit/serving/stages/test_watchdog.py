"""A call that does not come back is noticed, and named."""

from __future__ import annotations

import pytest

from serving.stages.watchdog import Stuck, Watchdog


def test_a_call_is_stuck_after_its_time_and_no_longer_when_it_came_back() -> None:
    now = 0.0
    watchdog = Watchdog(patience_s=10, clock=lambda: now)
    with watchdog.watching("dit"):
        now = 5.0
        with watchdog.watching("video encoder"):
            now = 10.0
            watchdog.check()
            now = 11.0
            with pytest.raises(Stuck, match="dit has run for 11 s, and 10 s is the most"):
                watchdog.check()
    watchdog.check()


def test_a_call_that_fails_is_over() -> None:
    now = 0.0
    watchdog = Watchdog(patience_s=10, clock=lambda: now)
    with pytest.raises(ValueError, match="broken"), watchdog.watching("dit"):
        raise ValueError("broken")
    now = 100.0
    watchdog.check()
