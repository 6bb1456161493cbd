"""Long videos of earlier versions. Pages are kept as long as a video needs them, shared by branches, and found when
they are lost; what is kept of a path without pages lives as long as its entry in the cache.
"""

from __future__ import annotations

import pytest

from serving.jobs.record import JobRecord
from serving.retention.scrub import Scrub
from serving.segments.older import WORTH_KEEPING
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore
from tests.unit.serving.retention.conftest import Collect
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos
from tests.unit.serving.segments.paged import STEP, PagedSegments

pytestmark = pytest.mark.anyio
PAGES = f"t/{TENANT}/pages/"


async def branches(videos: StoredVideos) -> tuple[JobRecord, ...]:
    """A trunk of two videos, and two branches of it that each have a page of their own; the last is extended since."""
    videos.paged = PagedSegments(videos.store, TENANT)
    root = await videos.finished(seconds=12)
    trunk = await videos.finished(root.id, seconds=STEP, seed=2)
    left = await videos.finished(trunk.id, seconds=STEP, seed=3)
    right = await videos.finished(trunk.id, seconds=STEP, seed=4)
    videos.paged = None
    return root, trunk, left, right, await videos.finished(right.id, seconds=2)


async def read(videos: StoredVideos, record: JobRecord) -> int:
    """How many segments its film has, all of them there."""
    assert record.head is not None
    return len(await videos.segments.media(await videos.segments.get(record.head)))


async def test_pages_live_and_die_with_the_videos_that_need_them(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    root, trunk, left, before, right = await branches(videos)
    pages = store.keys(PAGES)
    assert len(pages) >= 3
    clock.advance(24)
    for _ in range(2):  # once read, once remembered
        await collect()
        assert store.keys(PAGES) == pages
    for video in (root, trunk, left, before):
        await videos.delete(video.id)
    clock.advance(24)
    await collect()
    assert 0 < len(store.keys(PAGES)) < len(pages)
    assert await read(videos, right) == 12 + 2 * STEP + 2
    await videos.whole(right.id)
    await videos.delete(right.id)
    clock.advance(24)
    await collect()
    assert store.keys("t/") == []


async def test_a_lost_page_stops_the_collection_and_a_scrub_names_whose_it_is(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    _, _, left, _, right = await branches(videos)
    assert left.head is not None
    earlier = (await videos.segments.get(left.head)).earlier
    assert earlier is not None
    lost = f"{PAGES}{earlier.page}"
    await store.delete(lost)
    clock.advance(24)
    report = await collect()
    assert [damage.key for damage in report.damaged] == [lost]
    found = (await Scrub(store).run()).findings
    assert [(finding.key, finding.videos) for finding in found] == [(lost, [left.id])]
    await videos.whole(right.id)


async def test_what_is_kept_of_a_path_without_pages_goes_a_margin_after_its_entry(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    videos.whole_parts = True
    video = await videos.finished(seconds=WORTH_KEEPING + 1)
    videos.whole_parts = False
    assert video.head is not None
    path = await videos.segments.path(await videos.segments.get(video.head))
    (entry,) = store.keys(f"t/{TENANT}/cache/path/")
    kept = f"t/{TENANT}/blobs/{(await store.get(entry)).data.decode()}"

    clock.advance(29 * 24)
    for _ in range(2):  # once read, once remembered
        assert (await collect()).damaged == []
        assert kept in store.keys(kept)

    clock.advance(2 * 24)
    assert (await collect()).of("caches").collected.keys == 1
    clock.advance(0.9)
    await collect()
    assert store.keys(kept) == [kept], "somebody may have found it there a moment before the entry went"
    clock.advance(0.2)
    await collect()
    assert store.keys(kept) == []
    assert await videos.segments.path(await videos.segments.get(video.head)) == path
    await videos.whole(video.id)
