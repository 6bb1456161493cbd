"""What time it is. Whoever starts a process hands it to the rooms, which ask for no time themselves."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds since 1970 UTC, by this machine's clock."""
    return time.time_ns() // 1_000_000


def running_ms() -> int:
    """Milliseconds since the machine started, its sleep included where that is told."""
    return round(time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) * 1000)
