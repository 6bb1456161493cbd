"""A replica's leases: beaten while they are known, and given up loudly when they are not."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from serving.jobs.lease import Lease, Leases
from serving.stages import lease_keeper
from serving.stages.lease_keeper import LeaseKeeper
from serving.store import directory
from serving.store.base import Store
from serving.store.open import open_store

pytestmark = pytest.mark.anyio

JOB = "vid_a"
KEY = f"leases/{JOB}/1"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(str(tmp_path / "store"), probe=False)
    yield store
    await store.close()


@pytest.fixture
def lost() -> list[str]:
    """Jobs whose lease was lost."""
    return []


@pytest.fixture
async def keeper(store: Store, lost: list[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LeaseKeeper]:
    """One that beats often."""
    monkeypatch.setattr(lease_keeper, "BEAT_EVERY_S", 0.02)
    keeper = LeaseKeeper(store, "replica", lost=lost.append)
    yield keeper
    await keeper.stop()


def begin(keeper: LeaseKeeper) -> None:
    keeper.begin(JOB, 1, 1, segment=0, step=0)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  (there is no event of it)
            await asyncio.sleep(0.01)


async def beaten(store: Store, *, after: int = 0, term_not: str = "") -> Lease:
    """The lease, once it has been beaten more often than that, in another term than that."""
    async with asyncio.timeout(30):
        while True:
            lease = await Leases(store).read(JOB, 1)
            if lease is not None and lease.beat > after and lease.term != term_not:
                return lease
            await asyncio.sleep(0.01)


async def test_a_full_disk_for_a_moment_costs_no_lease(
    keeper: LeaseKeeper, store: Store, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def full(descriptor: int) -> None:
        refused.append(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    begin(keeper)
    before = await beaten(store)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        await until(lambda: len(refused) > 2)
    stood = await Leases(store).read(JOB, 1)
    assert stood is not None
    assert (await beaten(store, after=stood.beat)).term == before.term
    assert lost == []


async def test_what_nobody_foresaw_gives_the_lease_up_and_is_logged_and_the_next_slice_takes_it_anew(
    keeper: LeaseKeeper, store: Store, lost: list[str]
) -> None:
    await store.put_if_absent(KEY, b"no lease")
    with capture_logs() as logs:
        begin(keeper)
        await until(lambda: bool(lost))
    assert lost == [JOB]
    assert [(log["event"], log["log_level"], log["job"]) for log in logs] == [("lease given up", "error", JOB)]
    await store.delete(KEY)
    begin(keeper)
    await beaten(store)
    assert lost == [JOB]


async def test_a_store_that_says_nothing_for_a_leases_time_costs_the_lease(
    keeper: LeaseKeeper, store: Store, lost: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_LOCK_WITHIN_S", 3600.0)
    begin(keeper)
    first = await beaten(store)
    monkeypatch.setattr(lease_keeper, "TTL_S", 0.1)
    (lock,) = (tmp_path / "store" / "locks").iterdir()
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a process that was stopped while it wrote
        await until(lambda: bool(lost))
    monkeypatch.setattr(lease_keeper, "TTL_S", 30.0)
    begin(keeper)
    assert (await beaten(store, term_not=first.term)).holder == "replica"
    assert lost == [JOB]
