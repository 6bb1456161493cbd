"""A store in memory, with latency and faults: linearizable, as `serving.store.base` promises, and no kinder than that.

`Disk` is what lies there. A `SimStore` is one process's client of it. A call travels, takes effect at one instant, and
its answer travels back; each of the three may be slow. Faults (`chance.py` draws them):

* refused     the call never took effect, and the caller gets `Unavailable`
* unanswered  it took effect, and the caller gets `Unavailable` all the same
* late        the caller gets `Unavailable`, and after that the call takes effect
* stalled     it takes seconds
* unfit       during an outage, the server answers that there is no such store (`StoreUnfit`)

A delete may be late by much more than other calls, and content is sometimes read with a wrong bit.

A write in flight when its process is killed takes effect or does not, as it would have. What a dead process asks for
afterwards (a `finally` block that runs when its coroutine is collected) raises `Killed`. Objects are never seen torn:
neither a directory's link nor an S3 PUT shows half of one. A listing is read page by page, so it is no snapshot.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from serving.errors import Conflict, NotFound, StoreUnfit, Unavailable
from serving.store.base import Listed, Versioned
from tests.sim.chance import CallFate, Chance
from tests.sim.loop import SimLoop
from tests.sim.next_version import grown
from tests.sim.process import Process

T = TypeVar("T")
PAGE = 4
"""Keys of a listing that are read at one instant."""
SLOW_S = 0.1
"""Longer than an undisturbed call is on its way."""


class Killed(BaseException):
    """This process is dead."""


Watch = Callable[[Process, str, bytes | None, bytes | None], None]
"""Told of every effect: who, key, the bytes before and after; None: no object."""
Gate = Callable[[Process, str, str, str], None]
"""Told of each call before it is sent (`before`) and once it has taken effect (`after`); it may kill the process."""


class Disk:
    """All objects. Its methods take effect at once."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.objects: dict[str, Versioned] = {}
        self._modified: dict[str, int] = {}
        self.now_ms = now_ms
        self.watch: Watch | None = None
        self.gate: Gate | None = None
        self.note: Callable[[str], None] | None = None
        self.by: Process | None = None
        """Whose call takes effect now."""
        self.still_until = 0.0
        """In the world's seconds: until then a slow call may take effect, whoever asked for it may be dead."""
        self._keys: list[str] = []

    def get(self, key: str) -> Versioned:
        found = self.objects.get(key)
        if found is None:
            raise NotFound(f"no object {key}")
        return found

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self._tell(key, None, data)
        self.objects[key] = _versioned(data)
        self._modified[key] = self.now_ms()
        insort(self._keys, key)
        return True

    def swap(self, key: str, data: bytes, expected: str) -> str:
        before = self.get(key)
        if before.version != expected:
            raise Conflict(f"{key} was changed by another writer")
        self._tell(key, before.data, data)
        after = self.objects[key] = _versioned(data)
        self._modified[key] = self.now_ms()
        return after.version

    def stat(self, key: str) -> Listed | None:
        found = self.objects.get(key)
        return None if found is None else Listed(key, len(found.data), self._modified[key])

    def modified_ms(self, key: str) -> int:
        """When it was written or touched."""
        return self._modified[key]

    def touch(self, key: str) -> None:
        self.get(key)
        self._modified[key] = self.now_ms()

    def delete(self, key: str, by_ms: int | None = None) -> None:
        if by_ms is not None and self.now_ms() > by_ms:
            raise Unavailable(f"it is too late now to delete {key}", retry_after_s=60)
        before = self.objects.get(key)
        if before is not None:
            self._tell(key, before.data, None)
            del self.objects[key]
            del self._keys[bisect_left(self._keys, key)]

    def page(self, prefix: str, after: str, limit: int) -> list[Listed]:
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        keys = self._keys[start : start + limit]
        return [Listed(key, len(self.objects[key].data), self._modified[key]) for key in keys if key.startswith(prefix)]

    def names(self, prefix: str) -> list[str]:
        """All keys that begin so."""
        start = bisect_left(self._keys, prefix)
        return self._keys[start : bisect_left(self._keys, prefix + "\x7f", start)]

    def _tell(self, key: str, before: bytes | None, after: bytes | None) -> None:
        if self.watch is not None and self.by is not None:
            self.watch(self.by, key, before, after)


class SimStore:
    """Implements `serving.store.base.Store` for one process."""

    url = "sim://disk"

    def __init__(self, disk: Disk, process: Process, chance: Chance) -> None:
        self.disk = disk
        self._process = process
        self._chance = chance
        self._loop: SimLoop = process.loop

    async def get(self, key: str) -> Versioned:
        found = await self._call("get", key, partial(self.disk.get, key))
        if self._chance.flipped(key):
            return Versioned(self._chance.flip(key, found.data), found.version)
        return found

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        return (await self.get(key)).data[start : start + length]

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        assert isinstance(data, bytes), "files are not simulated"
        return await self._call("put", key, partial(self.disk.put_if_absent, key, self._written(key, data)))

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        return await self._call("swap", key, partial(self.disk.swap, key, self._written(key, data), expected))

    async def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        left = limit
        while left is None or left > 0:
            take = PAGE if left is None else min(PAGE, left)
            page = await self._call("list", prefix, partial(self.disk.page, prefix, after, take))
            for entry in page:
                yield entry
            if len(page) < take:
                return
            after = page[-1].key
            left = None if left is None else left - len(page)

    async def stat(self, key: str) -> Listed | None:
        return await self._call("stat", key, partial(self.disk.stat, key))

    async def touch(self, key: str) -> None:
        await self._call("touch", key, partial(self.disk.touch, key))

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        await self._call("delete", key, partial(self.disk.delete, key, by_ms))

    async def close(self) -> None:
        """Nothing is held open."""

    def _written(self, key: str, data: bytes) -> bytes:
        return grown(key, data) if self._process.newer else data

    async def _call(self, name: str, key: str, effect: Callable[[], T]) -> T:
        process, disk = self._process, self.disk
        if not process.alive:
            raise Killed
        future: asyncio.Future[T] = self._loop.create_future()
        if disk.gate is not None:
            disk.gate(process, "before", name, key)
            if not self._process.alive:
                return await future  # for ever: it is dead
        fate = self._chance.store_call(name, process.name)
        if fate.there_s + fate.late_s > SLOW_S:
            disk.still_until = max(disk.still_until, self._loop.now + fate.there_s + fate.late_s)
        self._loop.after(fate.there_s, self._arrive, future, name, key, effect, fate)
        return await future

    def _arrive(self, future: asyncio.Future[T], name: str, key: str, effect: Callable[[], T], fate: CallFate) -> None:
        """The call is at the server."""
        if self.disk.note is not None:
            self.disk.note(f"{self._process} {name} {key} {fate.told}")
        chance = self._chance
        if key.startswith("leases/"):
            chance.lease_call(fate, self._process.name)
        if fate.refused or chance.store_is_down or self._process.name in chance.cut_off:
            chance.bad_calls += 1
            self._answer(future, fate, None, _away(key) if not chance.store_is_unfit else StoreUnfit("no bucket"))
            if fate.late_s:
                self._loop.after(fate.late_s, self._late, effect)
            return
        disk = self.disk
        disk.by = self._process
        result: T | None = None
        error: Exception | None = None
        try:
            result = effect()
        except (NotFound, Conflict, Unavailable) as refused:
            error = refused
        finally:
            disk.by = None
        if disk.gate is not None:
            disk.gate(self._process, "after", name, key)
        if fate.unanswered:
            error = _away(key)
        self._answer(future, fate, result, error)

    def _late(self, effect: Callable[[], Any]) -> None:
        if self.disk.note is not None:
            self.disk.note(f"{self._process}: a write comes late")
        self.disk.by = self._process
        try:
            effect()
        except (NotFound, Conflict, Unavailable):
            pass  # nobody hears of it
        finally:
            self.disk.by = None

    def _answer(self, future: asyncio.Future[T], fate: CallFate, result: Any, error: Exception | None) -> None:
        self._loop.after(fate.back_s, _settle, future, result, error, process=self._process)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():  # its caller was cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _away(key: str) -> Unavailable:
    return Unavailable(f"the store does not answer; nothing is known of {key}", retry_after_s=5)


def _versioned(data: bytes) -> Versioned:
    return Versioned(data, hashlib.sha256(data).hexdigest())
