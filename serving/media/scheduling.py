"""Keeps the encoder from making this process real-time. Called by whoever opens an SVT-AV1 encoder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def unchanged_scheduling() -> Iterator[None]:
    """Undo what SVT-AV1 does when it runs as root: it makes its threads and the calling one real-time (SCHED_FIFO).

    Whatever the calling thread starts afterwards would inherit that, and two such threads starve everything else.
    """
    if sys.platform != "linux":
        yield
        return
    tasks = Path("/proc/self/task")
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = {thread.name for thread in tasks.iterdir()}
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
        for thread in {thread.name for thread in tasks.iterdir()} - before:
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setscheduler(int(thread), policy, parameters)
