"""Stores with planted bugs, and the honest one that they are made from: what a checker must tell apart.

All are in memory. Every operation lets others run before and after its one atomic moment, so that operations overlap;
which do is decided by the seed, and a run with one seed is always the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from random import Random

from serving.errors import Conflict, NotFound
from serving.store.base import Versioned


class MemoryStore:
    """An honest store: linearizable, for each operation does its work between two awaits."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._objects: dict[str, bytes] = {}

    async def get(self, key: str) -> Versioned:
        await self._others_run()
        data = self._objects.get(key)
        await self._others_run()
        return self._found(key, data)

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        body = data if isinstance(data, bytes) else data.read_bytes()
        await self._others_run()
        created = self._create(key, body)
        await self._others_run()
        return created

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        await self._others_run()
        self._compare(key, expected)
        self._objects[key] = data
        await self._others_run()
        return _version(data)

    async def delete(self, key: str) -> None:
        await self._others_run()
        self._objects.pop(key, None)
        await self._others_run()

    async def _others_run(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)

    def _now_and_then(self) -> bool:
        return self._random.random() < 0.05

    def _found(self, key: str, data: bytes | None) -> Versioned:
        if data is None:
            raise NotFound(f"no object {key}")
        return Versioned(data, _version(data))

    def _create(self, key: str, data: bytes) -> bool:
        return self._objects.setdefault(key, data) is data

    def _compare(self, key: str, expected: str) -> None:
        if self._found(key, self._objects.get(key)).version != expected:
            raise Conflict(f"{key} was changed by another writer")


class LastWriterWins(MemoryStore):
    """A swap looks whether there is an object, and not at its version."""

    def _compare(self, key: str, expected: str) -> None:
        self._found(key, self._objects.get(key))


class TwoWinners(MemoryStore):
    """Now and then a swap compares, lets others run, and then writes: a lock that was let go too early."""

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        await self._others_run()
        self._compare(key, expected)
        if self._now_and_then():
            await self._others_run()
        self._objects[key] = data
        await self._others_run()
        return _version(data)


class ForgetsWrites(MemoryStore):
    """Now and then a swap is acknowledged and not kept: the object stays as it was."""

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        if not self._now_and_then():
            return await super().swap(key, data, expected)
        self._compare(key, expected)
        return _version(data)


class StaleReads(MemoryStore):
    """Now and then a read answers what the object held before: a cache, or a replica that lags."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._before: dict[str, bytes] = {}

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        found = self._objects.get(key)
        version = await super().swap(key, data, expected)
        if found is not None:
            self._before[key] = found
        return version

    async def get(self, key: str) -> Versioned:
        if key in self._before and self._now_and_then():
            return self._found(key, self._before[key])
        return await super().get(key)


class CreatesTwice(MemoryStore):
    """A create never looks whether the object is there: what a server does that does not know If-None-Match."""

    def _create(self, key: str, data: bytes) -> bool:
        self._objects[key] = data
        return True


class RefusesAndOverwrites(MemoryStore):
    """A create answers truly whether the object was there, and writes in either case."""

    def _create(self, key: str, data: bytes) -> bool:
        created = key not in self._objects
        self._objects[key] = data
        return created


class RetriesBlindly(MemoryStore):
    """Now and then a swap's answer is lost, and it is sent again without reading back: a conflict with itself."""

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        version = await super().swap(key, data, expected)
        return await super().swap(key, data, expected) if self._now_and_then() else version


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


PLANTED = (
    LastWriterWins,
    TwoWinners,
    ForgetsWrites,
    StaleReads,
    CreatesTwice,
    RefusesAndOverwrites,
    RetriesBlindly,
)
