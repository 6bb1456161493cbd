"""Notices compute that never ends, such as a codec whose threads wait for each other, or a device that hangs.

A thread cannot be ended from outside; only the end of its process helps. So whoever computes says here when a call
begins and ends, and a replica's health check asks: one that is stuck is ended and started again, and its jobs go on
elsewhere, as after any other loss. Heartbeats do not show it: they are sent beside the compute, to outlast long steps.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_S = 300.0
"""Longer than any single call takes: one step of a denoiser, one group of frames, one picture."""


class Stuck(Exception):
    """A call has not come back. The message names it."""


class Watchdog:
    """The calls that are being computed in this process. May be used from any thread."""

    def __init__(self, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._numbers = itertools.count()
        self._running: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Around one call."""
        number = next(self._numbers)
        with self._lock:
            self._running[number] = (what, self._clock())
        try:
            yield
        finally:
            with self._lock:
                del self._running[number]

    def watched(self, what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One call, for threads: whoever waits for the thread may go away before it ends."""
        with self.watching(what):
            return call(*args, **kwargs)

    def check(self) -> None:
        """Raise `Stuck` when a call has been running for too long."""
        now = self._clock()
        with self._lock:
            running = list(self._running.values())
        for what, began in running:
            if now - began > self._patience_s:
                raise Stuck(f"{what} has run for {now - began:.0f} s, and {self._patience_s:.0f} s is the most")
