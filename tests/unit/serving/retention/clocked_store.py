"""A directory store on a clock that tests set, whose calls can be made to wait for their turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from itertools import islice
from pathlib import Path

from serving.errors import Unavailable
from serving.store.base import Listed, Versioned
from serving.store.directory import DirectoryStore
from serving.store.walking import walk

HOUR_MS = 3_600_000
Keys = list[str]
"""Spelled here, since `list` is a method of a store."""
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""For tests that make many stores: nothing is waited for there."""


class Clock:
    """Milliseconds since 1970."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms

    def advance(self, hours: float) -> None:
        self.ms += round(hours * HOUR_MS)


class Turns:
    """Calls that wait until somebody lets them go on, one at a time."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.log: list[str] = []

    async def wait(self, call: str) -> None:
        """Called by the store before every call."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((f"{_actor()} {call}", future))
        await future

    async def settle(self) -> None:
        """Let everybody run until they wait for a turn: nothing is left for the loop to run but this."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # it has no public name
        await asyncio.sleep(0)
        while ready:  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0)

    async def give(self, pick: int) -> None:
        """One call goes on."""
        call, future = self.waiting.pop(pick % len(self.waiting))
        self.log.append(call)
        if not future.done():  # its task was cancelled
            future.set_result(None)
        await self.settle()


class ClockedStore(DirectoryStore):
    """Files have the clock's time; nothing runs in threads, so that a call is one moment."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root)
        self._open()
        self._clock = clock
        self.turns: Turns | None = None
        self.before_delete: Callable[[str], None] | None = None

    async def _turn(self, call: str) -> None:
        if self.turns is not None:
            await self.turns.wait(call)

    async def get(self, key: str) -> Versioned:
        await self._turn(f"get {key}")
        return self._get(key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        await self._turn(f"get_range {key}")
        return self._get_range(key, start, length)

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        await self._turn(f"put {key}")
        created = self._put_if_absent(key, data)
        if created:
            self._stamp(key)
        return created

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        await self._turn(f"swap {key}")
        version = self._swap(key, data, expected)
        self._stamp(key)
        return version

    async def stat(self, key: str) -> Listed | None:
        await self._turn(f"stat {key}")
        return self._stat(key)

    async def touch(self, key: str) -> None:
        await self._turn(f"touch {key}")
        self._touch(key)
        self._stamp(key)

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        await self._turn(f"list {prefix}")
        page = 3 if self.turns is not None else 1000
        left = limit
        while left is None or left > 0:
            take = page if left is None else min(page, left)
            found = list(islice(walk(str(self._objects), prefix, after), take))
            for entry in found:
                yield entry
            if len(found) < take:
                return
            after = found[-1].key
            left = None if left is None else left - len(found)
            if left != 0:
                await self._turn(f"list on {prefix}")

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        await self._turn(f"delete {key}")
        if by_ms is not None and self._clock.ms > by_ms:
            raise Unavailable(f"it is too late now to delete {key}")
        if self.before_delete is not None:
            self.before_delete(key)
        self._delete(key)

    def keys(self, prefix: str = "") -> Keys:
        """All keys, at once."""
        return [entry.key for entry in walk(str(self._objects), prefix, "")]

    def age(self, key: str, hours: float) -> None:
        """Make an object older."""
        at = self._clock.ms / 1000 - hours * 3600
        os.utime(self._path(key), (at, at))

    def _stamp(self, key: str) -> None:
        at = self._clock.ms * 1_000_000
        os.utime(self._path(key), ns=(at, at))


def _actor() -> str:
    task = asyncio.current_task()
    return task.get_name() if task else "?"
