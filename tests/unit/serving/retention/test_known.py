"""What a collection remembers: nothing that has not changed is read again, and nothing is deleted for its sake."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest

from serving.errors import NotFound, Unavailable
from serving.retention import context, known
from serving.retention.known import Known, Reach
from serving.store import keys
from serving.store.base import Versioned
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore
from tests.unit.serving.retention.conftest import Collect
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

pytestmark = pytest.mark.anyio
WEEK = 7 * 24.0


@pytest.fixture
def reads(store: ClockedStore, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Reads of a tenant's objects, by kind."""
    counted: Counter[str] = Counter()
    get = store.get

    async def counting(key: str) -> Versioned:
        if key.startswith("t/"):
            counted[keys.kind_of(key)] += 1
        return await get(key)

    monkeypatch.setattr(store, "get", counting)
    return counted


async def test_what_has_not_changed_is_read_once(
    videos: StoredVideos, clock: Clock, collect: Collect, reads: Counter[str]
) -> None:
    root = await videos.finished(seconds=3, picture=b"picture")
    branch = await videos.finished(root.id, seed=2)
    await videos.keep_file(b"file")
    clock.advance(24)
    await collect()
    reads.clear()
    report = await collect()
    assert set(reads) == {"marks"}
    assert sum(counts.collected.keys for counts in report.kinds.values()) == 0
    assert report.of("segments").live.keys == 4

    clock.advance(24)
    longer = await videos.finished(branch.id, seed=3)
    clock.advance(24)
    reads.clear()
    await collect()
    assert (reads["jobs"], reads["segments"], reads["files"], reads["cache"]) == (1, 1, 0, 0), "the new video alone"
    for video in (root, branch, longer):
        await videos.whole(video.id)


async def test_what_is_young_unfinished_or_deleted_is_read_every_time(
    videos: StoredVideos, clock: Clock, collect: Collect, reads: Counter[str]
) -> None:
    await videos.accept()
    clock.advance(24)
    await videos.finished(seed=2)
    for _ in range(2):
        reads.clear()
        await collect()
        assert reads["jobs"] == 3, "one of them once more, for its key of `active/`"


async def test_a_deletion_is_seen_though_the_living_video_was_remembered(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    root = await videos.finished(seconds=2)
    child = await videos.finished(root.id, seed=2)
    clock.advance(24)
    await collect()
    await videos.delete(root.id)
    clock.advance(24)
    await collect()
    await videos.whole(child.id)
    await videos.delete(child.id)
    clock.advance(24)
    await collect()
    assert store.keys("t/") == [], "and what was remembered went too"


async def test_a_time_to_live_ends_what_is_remembered(videos: StoredVideos, clock: Clock, collect: Collect) -> None:
    video = await videos.finished(expires_ms=clock() + 48 * 3_600_000)
    kept = await videos.finished(seed=2)
    clock.advance(24)
    assert (await collect()).expired_videos == 0
    clock.advance(25)
    assert (await collect()).expired_videos == 1
    with pytest.raises(NotFound):
        await videos.jobs.get(TENANT, video.id)
    assert (await collect(video_ttl_s=3600)).expired_videos == 1
    with pytest.raises(NotFound):
        await videos.jobs.get(TENANT, kept.id)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _later(data: bytes) -> bytes:
    return data.replace(b"MARKS 1", b"MARKS 2")


@pytest.mark.parametrize("spoil", [_cut, _flipped, _later, lambda _: b""])
async def test_a_damaged_memory_is_forgotten_and_nothing_is_deleted_for_it(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore, spoil: Callable[[bytes], bytes]
) -> None:
    video = await videos.finished(seconds=2)
    clock.advance(24)
    await collect()
    (run,) = store.keys(f"t/{TENANT}/marks/")
    data = (await store.get(run)).data
    await store.delete(run)
    await store.put_if_absent(run, spoil(data))
    clock.advance(24)
    await collect()
    await videos.whole(video.id)
    for key in store.keys(f"t/{TENANT}/marks/"):
        assert hashlib.sha256((await store.get(key)).data).hexdigest() == keys.name_of(key)


async def test_full_runs_stay_as_they_are(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MOST_ENTRIES", 2)
    for seed in range(known.MOST_RUNS + 1):
        await videos.finished(seed=seed)
    clock.advance(24)
    await collect()
    full = store.keys(f"t/{TENANT}/marks/")
    assert len(full) == known.MOST_RUNS + 1
    await videos.finished(seed=99)
    clock.advance(24)
    await collect()
    assert len(set(store.keys(f"t/{TENANT}/marks/")) - set(full)) == 1
    assert set(full) <= set(store.keys(f"t/{TENANT}/marks/"))


async def test_what_was_learned_before_an_interruption_is_not_read_again(
    videos: StoredVideos,
    clock: Clock,
    collect: Collect,
    store: ClockedStore,
    reads: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known, "MOST_ENTRIES", 2)
    monkeypatch.setattr(context, "AT_ONCE", 1)
    for seed in range(6):
        await videos.finished(seed=seed)
    clock.advance(24)
    reads.clear()
    get = store.get

    async def interrupted(key: str) -> Versioned:
        if reads["jobs"] == 4:
            raise Unavailable("the store is away", retry_after_s=1)
        return await get(key)

    with monkeypatch.context() as away:
        away.setattr(store, "get", interrupted)
        with pytest.raises(Unavailable):
            await collect()
    assert store.keys(f"t/{TENANT}/marks/")
    reads.clear()
    await collect()
    assert 0 < reads["jobs"] <= 3, "of six, three or more were remembered"


async def test_many_runs_become_one(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore, reads: Counter[str]
) -> None:
    made = []
    for seed in range(known.MOST_RUNS + 3):
        made.append(await videos.finished(seed=seed))
        clock.advance(24)
        await collect()
    assert len(store.keys(f"t/{TENANT}/marks/")) < known.MOST_RUNS
    reads.clear()
    await collect()
    assert set(reads) == {"marks"}
    for video in made:
        await videos.whole(video.id)


async def test_what_a_collection_learns_takes_little_more_than_it_takes_to_write_down(
    store: ClockedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many are learned as fill several runs: all but the last ones are packed."""
    monkeypatch.setattr(known, "MOST_ENTRIES", 2000)
    names = [b"s" + hashlib.sha256(str(number).encode()).digest() for number in range(20_000)]
    learning = Known(store, TENANT)
    tracemalloc.start()
    try:
        for number, name in enumerate(names):
            learning.learn(name, Reach(number.to_bytes(8, "big") * 7, (bytes(33),)))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / len(names) < 200
    assert learning.meet(names[0])[1], "it was learned now"
    await learning.save()
    later = Known(store, TENANT)
    await later.load()
    assert [later.meet(name) for name in names] == [
        (Reach(number.to_bytes(8, "big") * 7, (bytes(33),)), False) for number in range(len(names))
    ]
    assert later.meet(names[0])[1], "it was met before"
