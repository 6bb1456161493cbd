"""Places at a stage that serves its calls in the order in which they come: the Director gives them by rank.

The Renderers take what they are sent first come, first served. So no more segments are sent than they work on at once;
the next place goes to the waiting job that ranks best when it is free. An urgent job waits for a segment's rendering at
most, and where the Renderers are what is scarce, tenants share them as they share the Denoisers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from serving.stages.contracts import Rank


@dataclass(eq=False)
class _Waiter:
    rank: Callable[[], Rank]
    called: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Places:
    """So many; one Director's."""

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._waiters: list[_Waiter] = []
        """In the order in which they came, which decides between equals."""

    def resize(self, count: int) -> None:
        """So many from now on. Where they are fewer, those that are taken stay so until they are given back."""
        more, self._count = count - self._count, count
        self._free += more
        while self._free > 0 and self._waiters:
            self._free -= 1
            self._give()

    @asynccontextmanager
    async def place(self, rank: Callable[[], Rank]) -> AsyncIterator[None]:
        """Wait for a place, and have it within the block. `rank` is asked whenever a place is given."""
        await self._take(rank)
        try:
            yield
        finally:
            self._give()

    async def _take(self, rank: Callable[[], Rank]) -> None:
        if self._free > 0:
            self._free -= 1
            return
        waiter = _Waiter(rank)
        self._waiters.append(waiter)
        try:
            await waiter.called
        except asyncio.CancelledError:
            if not waiter.called.cancelled():  # it was called, and cannot come any more
                self._give()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _give(self) -> None:
        if not self._waiters or self._free < 0:
            self._free += 1
            return
        best = min(self._waiters, key=lambda waiter: waiter.rank())
        self._waiters.remove(best)
        if best.called.done():  # it was cancelled a moment ago, and has not left yet
            self._give()
        else:
            best.called.set_result(None)
