"""What every store must do, as checks that any store can be handed to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from serving.errors import Conflict, NotFound, StoreUnfit, Unavailable
from serving.store.base import Store, Versioned
from serving.store.probe import probe


async def check_store(store: Store, folder: Path) -> None:
    """Run all checks on an empty store."""
    await _creates_once(store)
    await _swaps_only_the_version_that_was_read(store)
    await _reads_ranges(store)
    await _lists_in_byte_order(store)
    await _streams_files(store, folder)
    await _tells_of_one_key(store)
    await _forgets_what_was_deleted(store)
    await _deletes_in_time_or_never(store)
    await _tells_ages(store)
    await _lets_one_of_many_writers_win(store)
    await probe(store)


async def _creates_once(store: Store) -> None:
    assert await store.put_if_absent("once/a", b"first")
    assert not await store.put_if_absent("once/a", b"second")
    assert (await store.get("once/a")).data == b"first"
    with pytest.raises(NotFound):
        await store.get("once/b")


async def _swaps_only_the_version_that_was_read(store: Store) -> None:
    await store.put_if_absent("swap/a", b"1")
    first = (await store.get("swap/a")).version
    second = await store.swap("swap/a", b"2", first)
    assert await store.get("swap/a") == Versioned(b"2", second)
    with pytest.raises(Conflict):
        await store.swap("swap/a", b"3", first)
    assert (await store.get("swap/a")).data == b"2"
    with pytest.raises((NotFound, Conflict)):
        await store.swap("swap/missing", b"x", first)
    with pytest.raises(NotFound):
        await store.get("swap/missing")


async def _reads_ranges(store: Store) -> None:
    await store.put_if_absent("range/a", b"0123456789")
    assert await store.get_range("range/a", 0, 3) == b"012"
    assert await store.get_range("range/a", 8, 10) == b"89"
    assert await store.get_range("range/a", 4, 0) == b""
    with pytest.raises(NotFound):
        await store.get_range("range/missing", 0, 1)


async def _lists_in_byte_order(store: Store) -> None:
    keys = ["list/a/b", "list/a/c/d", "list/b", "list/c", "list/d0"]
    for key in reversed(keys):
        await store.put_if_absent(key, key.encode())
    assert [entry.key async for entry in store.list("list/")] == keys
    assert [entry.size async for entry in store.list("list/")] == [len(key) for key in keys]
    assert [entry.key async for entry in store.list("list/a/")] == keys[:2]
    assert [entry.key async for entry in store.list("list/", after="list/b")] == keys[3:]
    for few in range(1, len(keys) + 1):
        assert [entry.key async for entry in store.list("list/", limit=few)] == keys[:few]
    assert [entry.key async for entry in store.list("list/", after="list/a/b", limit=2)] == keys[1:3]
    assert [entry.key async for entry in store.list("nothing/")] == []


async def _streams_files(store: Store, folder: Path) -> None:
    file = folder / "large"
    file.write_bytes(b"x" * 3_000_000)
    assert await store.put_if_absent("file/a", file)
    assert not await store.put_if_absent("file/a", file)
    assert (await store.get("file/a")).data == file.read_bytes()


async def _tells_of_one_key(store: Store) -> None:
    await store.put_if_absent("one/folder/a", b"12345")
    await store.put_if_absent("one/folder/a.b", b"")
    for listed in [entry async for entry in store.list("one/")]:
        found = await store.stat(listed.key)
        assert found is not None
        assert (found.key, found.size) == (listed.key, listed.size)
        assert abs((found.modified_ms or 0) - (listed.modified_ms or 0)) <= 1000  # some servers count whole seconds
    for absent in ("one", "one/folder", "one/folder/b", "one/folder/a/b"):
        assert await store.stat(absent) is None


async def _forgets_what_was_deleted(store: Store) -> None:
    await store.put_if_absent("gone/a", b"x")
    await store.delete("gone/a")
    await store.delete("gone/a")
    with pytest.raises(NotFound):
        await store.get("gone/a")


async def _deletes_in_time_or_never(store: Store) -> None:
    """By its own clock, which is the one that ages are told by."""
    await store.put_if_absent("late/a", b"x")
    written = await store.stat("late/a")
    assert written is not None
    assert written.modified_ms is not None
    with pytest.raises(Unavailable, match="late"):
        await store.delete("late/a", by_ms=written.modified_ms - 2000)
    assert (await store.get("late/a")).data == b"x"
    await store.delete("late/a", by_ms=written.modified_ms + 60_000)
    await store.delete("late/a", by_ms=written.modified_ms + 60_000)
    assert await store.stat("late/a") is None


async def _tells_ages(store: Store) -> None:
    await store.put_if_absent("age/a", b"bytes")
    await store.put_if_absent("age/b", b"1")
    made = {entry.key: entry.modified_ms async for entry in store.list("age/")}
    assert all(abs((made[key] or 0) - time.time() * 1000) < 60_000 for key in ("age/a", "age/b"))
    await asyncio.sleep(1.1)  # some servers count whole seconds
    await store.touch("age/a")
    await store.swap("age/b", b"2", (await store.get("age/b")).version)
    assert not await store.put_if_absent("age/a", b"other")
    now = {entry.key: entry.modified_ms async for entry in store.list("age/")}
    assert all((now[key] or 0) > (made[key] or 0) for key in ("age/a", "age/b"))
    assert (await store.get("age/a")).data == b"bytes"
    assert not await store.put_if_absent("age/a", b"other")
    with pytest.raises(NotFound):
        await store.touch("age/missing")


async def _lets_one_of_many_writers_win(store: Store) -> None:
    await store.put_if_absent("count/a", b"0")

    async def add(times: int) -> None:
        for _ in range(times):
            while True:
                found = await store.get("count/a")
                number, *_ = found.data.split()
                # A nonce, as records have: equal bytes would be equal versions.
                body = b"%d %d %d" % (int(number) + 1, id(asyncio.current_task()), int(number))
                try:
                    await store.swap("count/a", body, found.version)
                    break
                except Conflict:
                    continue

    await asyncio.gather(*(add(5) for _ in range(6)))
    assert (await store.get("count/a")).data.split()[0] == b"30"


class IgnoresConditions:
    """A store that lets every writer win: what a broken S3 server does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        await self._store.put_if_absent(key, data)
        return True


class IgnoresVersions(IgnoresConditions):
    """A store whose swaps never fail."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._turn = asyncio.Lock()  # a crowd that overtakes itself for ever would only show how fast the server is

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return await self._store.put_if_absent(key, data)

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        async with self._turn:
            return await self._store.swap(key, data, (await self._store.get(key)).version)


class LosesAnAnswer(IgnoresConditions):
    """A sound store of whose swaps one is done and never answered."""

    lost = 0

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return await self._store.put_if_absent(key, data)

    async def swap(self, key: str, data: bytes, expected: str) -> str:
        version = await self._store.swap(key, data, expected)
        if self.lost:
            return version
        self.lost += 1
        raise Unavailable(f"nothing is known of {key}")


class IgnoresEnds(IgnoresConditions):
    """A store that deletes however late it is asked."""

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return await self._store.put_if_absent(key, data)

    async def delete(self, key: str, *, by_ms: int | None = None) -> None:
        await self._store.delete(key)


async def check_probe_refuses_broken_stores(store: Store) -> None:
    """The probe finds all three."""
    for broken in (IgnoresConditions(store), IgnoresVersions(store)):
        with pytest.raises(StoreUnfit, match="one must win"):
            await probe(broken)  # type: ignore[arg-type]
    with pytest.raises(StoreUnfit, match="had run out"):
        await probe(IgnoresEnds(store))  # type: ignore[arg-type]


async def check_probe_bears_a_lost_answer(store: Store) -> None:
    """A server that is slow at start-up is no server that breaks its promises."""
    slow = LosesAnAnswer(store)
    await probe(slow)  # type: ignore[arg-type]
    assert slow.lost == 1
