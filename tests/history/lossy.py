"""A store that loses answers: the caller sees a timeout, and the operation happened, or happens later, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TypeVar

from serving.errors import Conflict, NotFound
from serving.store.base import Versioned
from tests.history.recorder import Register

T = TypeVar("T")


class LosesAnswers:
    """Wraps any store. What is late lets others run up to 20 times, and waits `pause_s` each time."""

    def __init__(self, store: Register, seed: int, *, share: float, pause_s: float = 0.0) -> None:
        self._store = store
        self._random = Random(seed)
        self._share = share
        self._pause_s = pause_s
        self._late: set[asyncio.Task[object]] = set()

    async def get(self, key: str) -> Versioned:
        return await self._perhaps(lambda: self._store.get(key))

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return await self._perhaps(lambda: self._store.put_if_absent(key, data))

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        return await self._perhaps(lambda: self._store.swap(key, data, expected))

    async def delete(self, key: str) -> None:
        await self._perhaps(lambda: self._store.delete(key))

    async def settle(self) -> None:
        """Wait for what happens late."""
        for ended in await asyncio.gather(*self._late, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, Conflict | NotFound):
                raise ended

    async def _perhaps(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._random.random() >= self._share:
            return await call()
        match self._random.choice(("done", "late", "never")):
            case "done":
                with suppress(Conflict, NotFound):
                    await call()
            case "late":
                self._late.add(asyncio.create_task(self._late_call(call, self._random.randint(1, 20))))
            case _:
                await asyncio.sleep(0)
        raise TimeoutError("the answer was lost")

    async def _late_call(self, call: Callable[[], Awaitable[T]], pauses: int) -> object:
        for _ in range(pauses):
            await asyncio.sleep(self._pause_s)
        return await call()
