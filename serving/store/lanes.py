"""The threads in which a store's calls run: three lanes, so that nothing waits behind what is larger than itself.

Both stores use it. A lane's threads may all be taken by uploads that crawl, or by calls that a server never answers; a
heartbeat or a client's poll must not wait for them, and neither for what else runs on asyncio's own threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, unique
from typing import TypeVar

from serving.store import keys

T = TypeVar("T")


@unique  # two lanes of one size would be one
class Lane(Enum):
    """What shares threads, and how many they are at most: each call holds one for a round trip.

    A job of one segment makes eight calls of the second kind, so 300 jobs a second of a Director take fifty threads
    where a round trip takes 20 ms; and as they come in bursts, twice as many before nothing waits for a thread. A
    Director that follows another reads two beats of each attempt that runs, within the six seconds for which replicas
    wait for it: of a thousand in two, where a round trip takes 50 ms.
    """

    PULSES = 64
    """Leases and the installation's own."""
    RECORDS = 128
    """Records, index keys, and what is being deleted: a Director reads that once for every segment."""
    LARGE = 32
    """Blobs, checkpoints, engines."""


THREADS = sum(lane.value for lane in Lane)


def lane_of(key: str) -> Lane:
    """The lane of calls about a key, or about a prefix."""
    if keys.may_be_large(key):
        return Lane.LARGE
    return Lane.PULSES if keys.is_pulse(key) else Lane.RECORDS


class Lanes:
    """One store's. Threads are started when they are first needed."""

    def __init__(self, name: str) -> None:
        self._threads = {lane: ThreadPoolExecutor(lane.value, f"{name}-{lane.name.lower()}") for lane in Lane}

    async def run(self, key: str, work: Callable[[], T]) -> T:
        """Run `work`, which is about `key` (or about a prefix), in a thread of its lane."""
        return await asyncio.get_running_loop().run_in_executor(self._threads[lane_of(key)], work)

    def close(self) -> None:
        """Start nothing more, and wait for nothing."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
