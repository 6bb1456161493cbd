"""A simulated process: all that runs in its context, on the one loop (`loop.py`).

It can be killed (nothing of it ever runs again, no `finally` either) and stopped (what is ready waits, timers too, as
after SIGSTOP). Each has a monotonic clock of its own rate.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.sim.loop import SimLoop

T = TypeVar("T")
PROCESS: ContextVar[Process] = ContextVar("process")


class Process:
    """One simulated process: all that runs in its context."""

    def __init__(self, loop: SimLoop, name: str, *, rate: float = 1.0, started: float = 0.0) -> None:
        """`rate`: seconds of its monotonic clock in a second. `started`: what that clock showed at the loop's start."""
        self.name = name
        self.loop = loop
        self.rate = rate
        self.started = started
        self.began = loop.now
        """In the world's seconds."""
        self.newer = False
        """Whether it is of the next version (`next_version.py`)."""
        self.alive = True
        self.stopped = False
        self.stopped_for = 0.0
        """Seconds that it was stopped so far."""
        self.ready: deque[Handle] = deque()
        self.queued = False
        """Whether it stands in the loop's list of the busy."""
        self.on_death: list[Callable[[], None]] = []
        self._stopped_at = 0.0
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Start a task in this process."""
        return self.context.copy().run(self.loop.create_task, work, name=name)

    def kill(self) -> None:
        """As SIGKILL: nothing of it runs any more. Those who watch it are told."""
        if not self.alive:
            return
        self.alive = False
        self.ready.clear()
        watching, self.on_death = self.on_death, []
        for tell in watching:
            tell()

    def stop(self) -> None:
        """As SIGSTOP."""
        if not self.stopped:
            self.stopped, self._stopped_at = True, self.loop.now

    def go_on(self) -> None:
        """As SIGCONT."""
        if self.stopped:
            self.stopped = False
            self.stopped_for += self.loop.now - self._stopped_at
            self.loop.queue(self)


class Handle:
    """A callback that is ready, or a timer. What asyncio asks of `Handle` and `TimerHandle`."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_when", "process")

    def __init__(
        self, process: Process, callback: Callable[..., object], args: tuple[Any, ...], context: Context, when: float
    ) -> None:
        self.process = process
        self._callback = callback
        self._args = args
        self._context = context
        self._when = when
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._when
