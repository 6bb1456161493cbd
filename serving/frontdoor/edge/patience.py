"""Waits that have an end, all after equally long: the messages that clients are to send. `messages.py` waits so.

`asyncio.timeout` does the same with a timer for each wait, which a poll would feel. Here one timer looks at all of
them: they end in the order in which they began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Patience:
    """Ends what takes longer than `seconds`, or up to an eighth more. On one event loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[asyncio.Task[object], float] = {}
        """When each is to end, of the loop's time, the soonest first."""
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, coming: Awaitable[T]) -> T:
        """What comes. Raises `TimeoutError`. A task waits for one thing at a time."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:
            raise RuntimeError("whoever waits is a task")
        cancelled_before = task.cancelling()
        self._waiting[task] = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_later(self.seconds, self._look)
        try:
            return await coming
        except asyncio.CancelledError:
            if task in self._late and task.uncancel() <= cancelled_before:  # nobody else cancelled it meanwhile
                raise TimeoutError from None
            raise
        finally:
            self._waiting.pop(task, None)
            self._late.discard(task)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            task, end = next(iter(self._waiting.items()))
            if end > loop.time():
                break
            del self._waiting[task]
            self._late.add(task)
            task.cancel()
        # Who ended by itself is not here any more, so one look serves many.
        self._timer = loop.call_later(self.seconds / 8, self._look) if self._waiting else None
