"""The one piece of work that follows behind another: `run.py` commits a segment while it denoises the next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class OneBehind(Generic[T]):
    """Its failure shows at the next `result`. It does not outlive its `async with` block."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    def start(self, work: Coroutine[object, object, T]) -> None:
        """Begin; the one before has ended."""
        self._task = asyncio.create_task(work)

    async def result(self) -> T | None:
        """Wait for it; None if nothing was started."""
        return await self._task if self._task else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it, whatever it does."""
        if self._task is None:
            return
        self._task.cancel()
        # What it raised is lost only where the work ahead of it has failed too, and that is told.
        await asyncio.gather(self._task, return_exceptions=True)
