"""The directory store: the contract of all stores, and several processes at once."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from serving.errors import Conflict, StoreUnfit, Unavailable
from serving.store import directory
from serving.store.directory import DirectoryStore
from serving.store.open import open_store
from tests.store_contract import check_probe_refuses_broken_stores, check_store


def test_it_keeps_the_contract_of_all_stores(tmp_path: Path) -> None:
    async def run() -> None:
        store = await open_store(str(tmp_path / "store"))
        await check_store(store, tmp_path)
        await check_probe_refuses_broken_stores(store)

    asyncio.run(run())


def _count_up(root: str, times: int) -> None:
    async def run() -> None:
        store = await open_store(root, probe=False)
        done = 0
        while done < times:
            found = await store.get("counter")
            number = int(found.data.split()[0]) + 1
            body = f"{number} {multiprocessing.current_process().pid} {done}".encode()
            try:
                await store.swap("counter", body, found.version)
                done += 1
            except Conflict:
                continue

    asyncio.run(run())


def test_processes_that_swap_at_once_lose_no_update(tmp_path: Path) -> None:
    root = str(tmp_path)

    async def start() -> None:
        await (await open_store(root)).put_if_absent("counter", b"0")

    asyncio.run(start())
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count_up, args=(root, 25)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0

    async def read() -> bytes:
        return (await (await open_store(root)).get("counter")).data

    assert asyncio.run(read()).split()[0] == b"75"


def _make_and_delete(root: str, own: str, times: int) -> None:
    async def run() -> None:
        store = await open_store(root, probe=False)
        for number in range(times):
            assert await store.put_if_absent(f"a/b/{own}", b"%d" % number)
            assert (await store.get(f"a/b/{own}")).data == b"%d" % number
            await store.delete(f"a/b/{own}")

    asyncio.run(run())


def test_empty_folders_go_and_never_take_a_new_object_with_them(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_make_and_delete, args=(str(tmp_path), own, 300)) for own in "xyz"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert list((tmp_path / "objects").iterdir()) == []


def test_a_key_cannot_leave_the_folder(tmp_path: Path) -> None:
    async def run(key: str) -> None:
        store = DirectoryStore(tmp_path)
        await store.open()
        with pytest.raises(ValueError, match="is no key"):
            await store.get(key)

    for key in ("../a", "a/../../b", "/etc/passwd", "a//b", "", "a\nb", "a/./b"):
        asyncio.run(run(key))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnfit, match="name a folder"):
        asyncio.run(open_store(str(tmp_path / "file" / "store")))


def test_an_unknown_scheme_is_explained() -> None:
    with pytest.raises(StoreUnfit, match="unknown scheme 'ftp'"):
        asyncio.run(open_store("ftp://host/x"))


def test_what_the_file_system_refuses_is_unavailable_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def run() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(Unavailable, match="free some space"):
                await store.put_if_absent("a/b", b"x")
        assert await store.put_if_absent("a/b", b"x")

    asyncio.run(run())


def test_a_lock_that_is_never_let_go_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_LOCK_WITHIN_S", 0.05)

    async def run() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        await store.put_if_absent("a/b", b"x")
        version = await store.swap("a/b", b"y", (await store.get("a/b")).version)
        (lock,) = (tmp_path / "store" / "locks").iterdir()
        with lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(Unavailable, match="is it stopped"):
                await store.swap("a/b", b"z", version)
        await store.swap("a/b", b"z", version)

    asyncio.run(run())


def test_what_killed_writers_have_left_goes_after_a_day(tmp_path: Path) -> None:
    asyncio.run(DirectoryStore(tmp_path).open())
    old, new, folder = (tmp_path / "tmp" / name for name in ("old", "new", "folder"))
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    folder.mkdir()
    for path in (old, folder):
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    asyncio.run(DirectoryStore(tmp_path).open())
    assert (old.exists(), new.exists(), folder.exists()) == (False, True, True)


def test_a_store_whose_own_folder_was_removed_denies_no_object(tmp_path: Path) -> None:
    async def run() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        await store.put_if_absent("a/b", b"x")
        (tmp_path / "store" / "tmp").rmdir()
        with pytest.raises(Unavailable, match="start again"):
            await store.swap("a/b", b"y", (await store.get("a/b")).version)
        with pytest.raises(Unavailable, match="start again"):
            await store.put_if_absent("a/c", b"y")
        store = await open_store(str(tmp_path / "store"), probe=False)
        await store.swap("a/b", b"y", (await store.get("a/b")).version)

    asyncio.run(run())
