"""A store that loses answers: the caller sees a timeout, and the operation happened, or happens later, or never."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from serving.errors import Conflict, NotFound
from serving.store.base import Listed, Store, Versioned

T = TypeVar("T")


class LosesAnswers:
    """Wraps any store. Its callers must treat what they asked for as unknown."""

    def __init__(self, store: Store, seed: int, *, share: float = 0.1, delay_s: float = 0.02) -> None:
        self._store = store
        self._random = Random(seed)
        self._share = share
        self._delay_s = delay_s
        self._late: set[asyncio.Task[object]] = set()
        self.url = store.url
        self.lost = 0
        """How many answers."""

    async def get(self, key: str) -> Versioned:
        return await self._perhaps(lambda: self._store.get(key))

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return await self._perhaps(lambda: self._store.put_if_absent(key, data))

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        return await self._perhaps(lambda: self._store.swap(key, data, expected))

    async def delete(self, key: str) -> None:
        await self._perhaps(lambda: self._store.delete(key))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return await self._store.get_range(key, start, length)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        return self._store.list(prefix, after=after, limit=limit)

    async def presign(self, key: str, expires_s: int) -> str | None:
        return await self._store.presign(key, expires_s)

    async def close(self) -> None:
        """Wait for what happens late, and close the store behind."""
        await self.settle()
        await self._store.close()

    async def settle(self) -> None:
        """Wait for what happens late."""
        for ended in await asyncio.gather(*self._late, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, Conflict | NotFound):
                raise ended

    async def _perhaps(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._random.random() >= self._share:
            return await call()
        self.lost += 1
        match self._random.choice(("done", "late", "never")):
            case "done":
                await call()
            case "late":
                self._late.add(asyncio.create_task(self._late_call(call, self._random.random() * self._delay_s)))
            case _:
                await asyncio.sleep(0)
        raise TimeoutError("the answer was lost")

    async def _late_call(self, call: Callable[[], Awaitable[T]], delay_s: float) -> object:
        await asyncio.sleep(delay_s)
        return await call()
