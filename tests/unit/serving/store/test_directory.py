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
from serving.store.filesystems import LOCAL, filesystem_of
from serving.store.lanes import THREADS
from serving.store.open import open_store
from tests.store_contract import check_probe_bears_a_lost_answer, check_probe_refuses_broken_stores, check_store


def test_it_keeps_the_contract_of_all_stores(tmp_path: Path) -> None:
    async def run() -> None:
        store = await open_store(str(tmp_path / "store"))
        await check_store(store, tmp_path)
        await check_probe_refuses_broken_stores(store)
        await check_probe_bears_a_lost_answer(store)

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


def test_what_killed_writers_have_left_goes_also_while_the_store_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_for_s = directory._LEFT_FOR_S

    def leave() -> tuple[Path, Path, Path]:
        old, new, folder = (tmp_path / "tmp" / name for name in ("old", "new", "folder"))
        old.write_bytes(b"x")
        new.write_bytes(b"x")
        folder.mkdir(exist_ok=True)
        for path in (old, folder):
            os.utime(path, (time.time() - left_for_s - 60,) * 2)
        return old, new, folder

    async def run() -> None:
        store = DirectoryStore(tmp_path)
        await store.open()
        leave()
        await store.close()
        store = DirectoryStore(tmp_path)
        await store.open()
        assert [path.exists() for path in leave()] == [True] * 3  # these were left after it was opened
        later = time.monotonic() + left_for_s
        with monkeypatch.context() as patched:
            patched.setattr(time, "monotonic", lambda: later)
            await store.put_if_absent("a", b"x")
        assert [(tmp_path / "tmp" / name).exists() for name in ("old", "new", "folder")] == [False, True, True]

    asyncio.run(run())


class Synced:
    """Which folders were synced."""

    def __init__(self, patched: pytest.MonkeyPatch, root: Path) -> None:
        self.folders: list[str] = []
        really = os.fsync

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.is_dir():
                self.folders.append(str(path.relative_to(root)))
            really(descriptor)

        patched.setattr(os, "fsync", fsync)

    def taken(self) -> list[str]:
        """Since the last time."""
        taken, self.folders = self.folders, []
        return taken


on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which folder is synced")


@on_linux
def test_a_create_syncs_what_is_new_and_no_folder_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        root = tmp_path / "store"
        store = await open_store(str(root), probe=False)
        synced = Synced(monkeypatch, root)
        await store.put_if_absent("t/a/jobs/1", b"x")
        assert synced.taken() == [f"objects{folder}" for folder in ("/t/a/jobs", "/t/a", "/t", "")] + ["."]
        await store.put_if_absent("t/a/jobs/2", b"x")
        assert synced.taken() == ["objects/t/a/jobs"]
        await store.put_if_absent("t/a/keep/1", b"x")
        assert synced.taken() == ["objects/t/a/keep", "objects/t/a"]
        # Made anew, by another process, which may not have synced its name yet: it is another folder.
        await store.delete("t/a/keep/1")
        (root / "objects/t/a/keep").mkdir()
        synced.taken()
        await store.put_if_absent("t/a/keep/2", b"x")
        assert synced.taken() == ["objects/t/a/keep", "objects/t/a"]
        await store.close()

    asyncio.run(run())


@on_linux
def test_who_finds_a_key_answers_for_it_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who made it may have been killed before the folder was synced."""

    async def run() -> None:
        root = tmp_path / "store"
        store = await open_store(str(root), probe=False)
        (root / "objects" / "a").mkdir()
        (root / "objects" / "a" / "b").write_bytes(b"x")
        synced = Synced(monkeypatch, root)
        assert not await store.put_if_absent("a/b", b"y")
        assert synced.taken() == ["objects/a", "objects", "."]

    asyncio.run(run())


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@on_linux
def test_a_folder_that_is_remembered_holds_no_file_open_for_ever(tmp_path: Path) -> None:
    async def run() -> None:
        before = _open_files()
        store = await open_store(str(tmp_path / "store"), probe=False)
        for number in range(200):
            await store.put_if_absent(f"leases/{number}/1", b"x")
        assert _open_files() - before < 100
        await store.close()
        assert _open_files() - before < 20

    asyncio.run(run())


def test_a_page_of_a_folder_with_very_many_keys_looks_at_no_more_files_than_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    really = os.stat

    def counted(path: str) -> os.stat_result:
        nonlocal looks
        looks += 1
        return really(path)

    async def run() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        folder = tmp_path / "store" / "objects" / "many"
        folder.mkdir()
        for number in range(2000):
            (folder / f"{number:05d}").touch()
        with monkeypatch.context() as patched:
            patched.setattr(os, "stat", counted)
            page = [entry.key async for entry in store.list("many/", after="many/00499", limit=20)]
        assert page == [f"many/{number:05d}" for number in range(500, 520)]
        assert looks <= 22

    asyncio.run(run())


def test_a_folder_is_listed_where_the_keys_in_it_belong(tmp_path: Path) -> None:
    """A folder sorts as its name with a slash: behind `a-b` and `a.b`, and before `a0`."""
    keys = sorted(["a-b", "a.b", "a/b", "a/c/d", "a/c.d", "a0", "a0-/x", "b/a"])

    async def run() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        for key in keys:
            await store.put_if_absent(key, b"x")
        assert [entry.key async for entry in store.list("")] == keys
        for number, after in enumerate(keys):
            assert [entry.key async for entry in store.list("", after=after)] == keys[number + 1 :]
        for prefix in ("a", "a/", "a/c", "a0", "a.", "b"):
            want = [key for key in keys if key.startswith(prefix)]
            assert [entry.key async for entry in store.list(prefix)] == want
        await store.close()

    asyncio.run(run())


MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
bucket /mnt/gcs fuse.gcsfuse rw 0 0
juice /mnt/j fuse.juicefs rw 0 0
share /mnt/host virtiofs rw 0 0
big /mnt/big gpfs rw 0 0
tmpfs /mnt/with\\040space tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "local"),
    [
        ("/var/lib/longtake", "ext4", True),
        ("/mnt/with space/store", "tmpfs", True),
        ("/home/user/store", "nfs4", False),
        ("/mnt/gcs/store", "fuse.gcsfuse", False),
        ("/mnt/j", "fuse.juicefs", False),
        ("/mnt/host/store", "virtiofs", False),
        ("/mnt/big/store", "gpfs", False),
    ],
)
def test_only_file_systems_that_are_known_to_be_local_are_trusted(
    path: str, kind: str, local: bool, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert filesystem_of(Path(path), mounts) == kind
    assert (kind in LOCAL) is local


def test_who_knows_that_a_file_system_is_one_machines_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "filesystem_of", lambda _: "virtiofs")
    with pytest.raises(StoreUnfit, match=r"lies on virtiofs.*dir:///.*\?local=true"):
        asyncio.run(open_store(str(tmp_path)))
    with pytest.raises(StoreUnfit, match="only option"):
        asyncio.run(open_store(f"dir://{tmp_path}?remote=true"))

    async def run() -> None:
        store = await open_store(f"dir://{tmp_path}?local=true")
        assert await store.put_if_absent("a", b"x")
        await store.close()

    asyncio.run(run())
    assert (tmp_path / "objects" / "a").read_bytes() == b"x"


def test_no_thread_waits_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds it: every call that needs no lock is answered meanwhile, however many wait."""
    monkeypatch.setattr(directory, "_LOCK_WITHIN_S", 3600.0)

    async def run() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        await store.put_if_absent("t/a/jobs/1", b"x")
        version = await store.swap("t/a/jobs/1", b"y", (await store.get("t/a/jobs/1")).version)
        (lock,) = (tmp_path / "store" / "locks").iterdir()
        with lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            swaps = [asyncio.create_task(store.swap("t/a/jobs/1", b"z", version)) for _ in range(4 * THREADS)]
            async with asyncio.timeout(30):
                assert (await store.get("t/a/jobs/1")).data == b"y"
                assert await store.put_if_absent("t/a/jobs/2", b"x")
            assert not any(swap.done() for swap in swaps)
        ended = await asyncio.gather(*swaps, return_exceptions=True)
        assert sum(isinstance(result, str) for result in ended) == 1
        assert sum(isinstance(result, Conflict) for result in ended) == len(swaps) - 1
        await store.close()

    asyncio.run(run())


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
