"""Keeps jobs that lose their workers apart, so that one that ends its workers takes no other with it.

A worker that dies takes the work of several jobs with it, and nobody knows which of them it was. Those that lost two in
a row are suspects: they go on one at a time at each stage that their calls need. Whoever is innocent then gets past the
step where it lost them, and goes on with all others; the one that is not dies alone, until `attempt.MAX_CRASHES` ends
it. One that lost a worker alone stays a suspect until the stage has finished something, and so does what is made again
in its place: their records may count nothing. When nobody was at all deaths, it is the stage (`stage_health.py`). Every
run of one Director asks here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

from serving.stage_names import ModelStage

SUSPECT_FROM = 2
"""Workers lost in a row. One loss is nobody's fault: machines die."""


class Suspects:
    """Of one Director."""

    def __init__(self) -> None:
        self._alone: defaultdict[ModelStage, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def apart(self, stages: Collection[ModelStage], crashes: int) -> AsyncIterator[bool]:
        """Around a call that needs these stages, by a job that lost so many workers in a row. Gives whether it is kept
        apart: then no other suspect is at any of them.
        """
        if crashes < SUSPECT_FROM:
            yield False
            return
        async with AsyncExitStack() as held:
            for stage in sorted(set(stages)):  # all take them in one order, so nobody waits for each other
                await held.enter_async_context(self._alone[stage])
            yield True
