"""Clients of a directory store in several processes at once: only so are its file locks put to the test."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

from serving.store.directory import DirectoryStore
from tests.history.lossy import LosesAnswers
from tests.history.recorder import History, Operation
from tests.history.workload import Workload, run


class Unlocked(DirectoryStore):
    """A directory store whose swaps take no lock."""

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Part:
    """What one process does."""

    kind: type[DirectoryStore]
    root: Path
    work: Workload
    share: float
    """Of answers that are lost."""


def run_in_processes(parts: list[Part]) -> History:
    """One process for each part, all starting together; what all their clients saw."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(parts))
    with context.Pool(len(parts), _wait_for, (barrier,)) as pool:
        told = pool.map(_run_part, parts, chunksize=1)
    return History(operations=[operation for part in told for operation in part])


def _wait_for(barrier: Barrier) -> None:
    barrier.wait(60)


def _run_part(part: Part) -> list[Operation]:
    # The kernel's monotonic clock is one for all processes of the machine.
    history = History(now=time.monotonic_ns)

    async def clients() -> None:
        store = part.kind(part.root)
        await store.open()
        lossy = LosesAnswers(store, part.work.seed + part.work.clients.start, share=part.share, pause_s=0.002)
        await run(lossy, part.work, history)
        await lossy.settle()

    asyncio.run(clients())
    return history.operations
