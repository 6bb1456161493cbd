"""Which calls share threads: what is large, or stuck, keeps no record and no heartbeat waiting."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from serving.store import keys
from serving.store.base import Store, Versioned
from serving.store.directory import DirectoryStore
from serving.store.lanes import Lane, Lanes, lane_of

BLOB, RECORD, LEASE = keys.blob("a", "0" * 64), keys.job("a", "vid_1"), keys.lease("vid_1", 1)


@pytest.mark.parametrize(
    ("stuck", "full", "free"),
    [(BLOB, Lane.LARGE, (RECORD, LEASE)), (RECORD, Lane.RECORDS, (LEASE,))],
    ids=["blobs", "records"],
)
def test_a_lane_that_is_full_holds_up_no_smaller_one(stuck: str, full: Lane, free: tuple[str, ...]) -> None:
    async def run() -> None:
        lane, latch = Lanes("test"), threading.Event()
        blocked = [asyncio.create_task(lane.run(stuck, latch.wait)) for _ in range(2 * full.value)]
        try:
            async with asyncio.timeout(30):
                for key in free:
                    assert await lane.run(key, lambda: "done") == "done"
            assert not any(task.done() for task in blocked)
        finally:
            latch.set()
            await asyncio.gather(*blocked)
            lane.close()

    asyncio.run(run())


def test_every_kind_of_key_has_its_lane() -> None:
    large = [
        BLOB,
        keys.blobs_of("a"),
        keys.checkpoints_of("a"),
        "engines/blobs/0",
        "engines/sprite-2/0/manifest-1.json",
    ]
    pulses = [LEASE, keys.EPOCH, keys.COLLECTOR, keys.DIRECTOR_ADDRESS]
    records = [
        RECORD,
        keys.jobs_of("a"),
        keys.ACTIVE,
        keys.TENANTS,
        keys.job_by_time("a", 1, "vid_1"),
        keys.SWEEP,
        "probe/x",
    ]
    assert {lane_of(key) for key in large} == {Lane.LARGE}
    assert {lane_of(key) for key in pulses} == {Lane.PULSES}
    assert {lane_of(key) for key in records} == {Lane.RECORDS}


class StuckBlobs(DirectoryStore):
    """Reads of blobs do not come back until the latch is lifted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.latch = threading.Event()

    def _get(self, key: str) -> Versioned:
        if keys.may_be_large(key):
            self.latch.wait(60)
        return super()._get(key)


def test_a_record_is_read_while_all_threads_of_blobs_are_stuck(tmp_path: Path) -> None:
    """And whatever asyncio's own threads do, which encoding uses too."""

    async def run() -> None:
        store = StuckBlobs(tmp_path)
        await store.open()
        for key in (BLOB, RECORD, LEASE):
            await store.put_if_absent(key, b"1")
        reads = [asyncio.create_task(store.get(BLOB)) for _ in range(2 * Lane.LARGE.value)]
        others = [asyncio.create_task(asyncio.to_thread(store.latch.wait)) for _ in range(64)]
        try:
            await _answers(store)
            assert not any(read.done() for read in reads)
        finally:
            store.latch.set()
            await asyncio.gather(*reads, *others)
            await store.close()

    asyncio.run(run())


async def _answers(store: Store) -> None:
    async with asyncio.timeout(30):
        assert (await store.get(RECORD)).data == b"1"
        version = (await store.get(LEASE)).version
        await store.swap(LEASE, b"2", version)
        assert [entry.key async for entry in store.list(keys.jobs_of("a"))] == [RECORD]
