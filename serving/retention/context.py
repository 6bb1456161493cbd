"""What all parts of one collection share. `collect.py` makes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from serving.errors import LongtakeError, alone
from serving.retention.report import Report
from serving.settings import Retention
from serving.store import keys
from serving.store.base import Listed, Store

AT_ONCE = 16
"""Calls to the store that are under way together."""
_CHUNK = 256
_TOLD_WITHIN_MS = 1000
"""Where one key is asked for, some servers tell its age in whole seconds."""

T = TypeVar("T")


@dataclass(frozen=True)
class Collection:
    """One per run of the collector."""

    store: Store
    retention: Retention
    now_ms: Callable[[], int]
    """For the time that videos and files have to live. Ages are told by the store's own clock alone."""
    report: Report
    on_progress: Callable[[str, int], None]
    """Told what is looked at and how many keys were, for a progress line."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be written."""
        return self.report.dry_run

    def before(self, seconds: float) -> int:
        """The moment so long before the collection began, in the store's milliseconds."""
        return self.report.snapshot_ms - round(seconds * 1000)

    async def listed(self, prefix: str) -> AsyncIterator[Listed]:
        """What we have there. Whatever else lies there is left alone, and told of."""
        async for entry in self.store.list(prefix):
            if keys.is_ours(entry.key):
                yield entry
            else:
                self.report.stray(entry.key)

    async def each(self, what: str, items: AsyncIterator[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Work on every item, several at once."""
        seen = 0
        async for chunk in chunks(items):
            await together(work(item) for item in chunk)
            seen += len(chunk)
            self.on_progress(what, seen)


def is_old(entry: Listed, before_ms: int) -> bool:
    """Whether a key that `Store.stat` told of was written and touched before that moment, for sure."""
    return entry.modified_ms is not None and entry.modified_ms + _TOLD_WITHIN_MS <= before_ms


async def chunks(items: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    """The items, some at a time."""
    chunk: list[T] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await all, `AT_ONCE` at a time; their results in order. Raises what the first one raised that failed."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(call: Awaitable[T]) -> T:
        async with room:
            return await call

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(call)) for call in calls]
    except BaseExceptionGroup as failed:
        raise alone(failed, LongtakeError) from None
    return [task.result() for task in tasks]
