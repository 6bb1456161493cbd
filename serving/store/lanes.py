"""The threads in which a store's calls run: three lanes, so that nothing waits behind what is larger than itself.

Both stores use it. A lane's threads may all be taken by uploads that crawl, or by calls that a server never answers; a
heartbeat or a client's poll must not wait for them, and neither for what else runs on asyncio's own threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.store import keys

T = TypeVar("T")

PULSES, RECORDS, LARGE = 4, 16, 32
"""Threads of each lane: leases and the installation's own; records and index keys; blobs, checkpoints, engines."""
THREADS = PULSES + RECORDS + LARGE


class Lanes:
    """One store's. Threads are started when they are first needed."""

    def __init__(self, name: str) -> None:
        self._pulses = ThreadPoolExecutor(PULSES, f"{name}-pulse")
        self._records = ThreadPoolExecutor(RECORDS, f"{name}-record")
        self._large = ThreadPoolExecutor(LARGE, f"{name}-large")

    async def run(self, key: str, work: Callable[[], T]) -> T:
        """Run `work`, which is about `key` (or about a prefix), in a thread of its lane."""
        return await asyncio.get_running_loop().run_in_executor(self._lane(key), work)

    def close(self) -> None:
        """Start nothing more, and wait for nothing."""
        for lane in (self._pulses, self._records, self._large):
            lane.shutdown(wait=False, cancel_futures=True)

    def _lane(self, key: str) -> ThreadPoolExecutor:
        if keys.may_be_large(key):
            return self._large
        return self._pulses if keys.is_pulse(key) else self._records
