"""A collector's process that is stopped in the middle of a delete, in a directory: nothing that was promised goes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from serving.errors import Unavailable
from serving.store import directory, keys, sweeping
from serving.store.blobs import Blobs
from serving.store.directory import DirectoryStore
from serving.store.open import open_store

CAME_TOO_LATE = 3


class StopsBefore(DirectoryStore):
    """Before it looks at the clock."""

    def _delete_by(self, key: str, by_ms: int) -> None:
        signal.raise_signal(signal.SIGSTOP)
        super()._delete_by(key, by_ms)


class StopsBetween(DirectoryStore):
    """When it has looked, and holds the lock."""

    def _delete(self, key: str) -> None:
        signal.raise_signal(signal.SIGSTOP)
        super()._delete(key)


def _collect(kind: type[DirectoryStore], root: Path, key: str, batch_s: float) -> None:
    async def run() -> None:
        sweeping.BATCH_S = batch_s
        store = kind(root)
        await store.open()
        async with sweeping.announced(store, [key]) as by_ms:
            await store.delete(key, by_ms=by_ms)

    try:
        asyncio.run(run())
    except Unavailable:
        raise SystemExit(CAME_TOO_LATE) from None


@contextmanager
def stopped_collector(kind: type[DirectoryStore], root: Path, key: str, *, batch_s: float) -> Iterator[BaseProcess]:
    """A process that has stopped itself."""
    process = multiprocessing.get_context("spawn").Process(target=_collect, args=(kind, root, key, batch_s))
    process.start()
    assert process.pid is not None
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)


@pytest.fixture(autouse=True)
def _soon_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "STALE_S", 1.0)
    monkeypatch.setattr(directory, "_LOCK_WITHIN_S", 0.3)


def test_stopped_before_it_looked_it_deletes_nothing_when_it_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        blobs = Blobs(await open_store(str(tmp_path), probe=False), "a")
        digest = await blobs.put(b"bytes")
        with stopped_collector(StopsBefore, tmp_path, keys.blob("a", digest), batch_s=0.2) as collector:
            assert await blobs.put(b"bytes") == digest
        assert collector.exitcode == CAME_TOO_LATE
        assert await blobs.get(digest) == b"bytes"

    asyncio.run(run())


def test_stopped_after_it_looked_nobody_is_promised_anything_until_it_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        store = await open_store(str(tmp_path), probe=False)
        blobs = Blobs(store, "a")
        digest = await blobs.put(b"bytes")
        key = keys.blob("a", digest)
        with stopped_collector(StopsBetween, tmp_path, key, batch_s=15.0) as collector:
            assert not await sweeping.undisturbed(store, key)  # a writer that was here before
            with pytest.raises(Unavailable, match="is it stopped"):
                await blobs.put(b"bytes")
        assert collector.exitcode == 0
        assert await blobs.put(b"bytes") == digest
        assert await blobs.get(digest) == b"bytes"

    asyncio.run(run())
