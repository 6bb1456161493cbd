"""A clock that was set, or that is far from the store's, deletes nothing."""

from __future__ import annotations

import pytest

from serving.errors import FailedPrecondition
from serving.retention.clocks import CheckedClock
from serving.retention.collect import collect_once
from serving.settings import Retention
from tests.unit.serving.retention.clocked_store import HOUR_MS, Clock, ClockedStore
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

pytestmark = pytest.mark.anyio
MONTH_H = 30 * 24.0
TTL = Retention(video_ttl_s=86_400)


@pytest.mark.parametrize("hours", [MONTH_H, -MONTH_H, 1.1])
async def test_our_clock_far_from_the_stores_deletes_nothing(
    videos: StoredVideos, store: ClockedStore, clock: Clock, hours: float
) -> None:
    video = await videos.finished()
    await videos.blobs.put(b"garbage")
    clock.advance(3)
    before = store.keys("t/")
    with pytest.raises(FailedPrecondition, match="from the store's"):
        await collect_once(store, TTL, now_ms=lambda: clock() + round(hours * HOUR_MS))
    assert store.keys("t/") == before
    await videos.whole(video.id)


async def test_a_clock_that_jumps_with_the_stores_deletes_nothing(
    videos: StoredVideos, store: ClockedStore, clock: Clock
) -> None:
    running = clock()
    checked = CheckedClock(clock, lambda: running, allowed_s=3600)
    video = await videos.finished()
    clock.advance(MONTH_H)
    with pytest.raises(FailedPrecondition, match=r"set by \+2592000 s"):
        await collect_once(store, TTL, now_ms=checked)
    assert (await videos.jobs.get(TENANT, video.id)).id == video.id
    running += round(MONTH_H * HOUR_MS)  # it was no jump: the machine ran, or slept, for a month
    assert (await collect_once(store, TTL, now_ms=checked)).expired_videos == 1


async def test_a_clock_that_jumps_in_the_midst_of_a_collection_ends_it(
    videos: StoredVideos, store: ClockedStore, clock: Clock
) -> None:
    video = await videos.finished()
    clock.advance(3)
    running, asked = clock(), 0

    def wall() -> int:
        nonlocal asked
        asked += 1
        return clock() + (round(MONTH_H * HOUR_MS) if asked > 2 else 0)

    with pytest.raises(FailedPrecondition, match="was set"):
        await collect_once(store, TTL, now_ms=CheckedClock(wall, lambda: running, allowed_s=3600))
    await videos.whole(video.id)
