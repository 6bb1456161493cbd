"""Longtake's store as `engines` sees it, and the errors of `engines` as this side sees them.

`engine_store.py` and `model_store.py` read and write through it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.errors import EngineCorrupt, EngineError
from engines.objects import too_large
from serving.errors import Conflict, EngineMissing, NotFound
from serving.store import sweeping
from serving.store.base import Store, Versioned


class EngineObjects:
    """A store as engines see it. Implements `engines.objects.Objects`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, key: str, *, limit: int) -> Versioned | None:
        there = await self._store.stat(key)
        if there is not None and there.size > limit:
            raise EngineCorrupt(too_large(key, limit))
        try:
            return await self._store.get(key)
        except NotFound:
            return None

    async def get_range(self, key: str, start: int, length: int) -> bytes | None:
        try:
            return await self._store.get_range(key, start, length)
        except NotFound:
            return None

    async def size(self, key: str) -> int | None:
        there = await self._store.stat(key)
        return None if there is None else there.size

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        return await self._store.put_if_absent(key, data)

    async def replace(self, key: str, data: bytes, expected: str) -> bool:
        try:
            await self._store.swap(key, data, expected)
        except (Conflict, NotFound):
            return False
        return True

    async def keep(self, key: str, data: bytes | Path) -> None:
        while True:
            there = await self._store.put_if_absent(key, data) or await self._renewed(key)
            if there and await sweeping.undisturbed(self._store, key):
                return

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        async for entry in self._store.list(prefix):
            yield entry.key

    async def _renewed(self, key: str) -> bool:
        """Make what is there young again; False when it went meanwhile."""
        try:
            await self._store.touch(key)
        except NotFound:
            return False
        return True


@contextmanager
def known_errors() -> Iterator[None]:
    """Whatever is wrong with an engine, it is none to serve with: its message says what to do."""
    try:
        yield
    except EngineError as error:
        raise EngineMissing(str(error)) from error
