"""What is collected, what is spared, and what becomes of videos whose time is over."""

from __future__ import annotations

import pytest

from serving.errors import NotFound
from serving.jobs.ids import derived_id
from serving.jobs.record import JobState
from serving.store import keys
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore
from tests.unit.serving.retention.conftest import Collect
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

pytestmark = pytest.mark.anyio


async def test_what_living_videos_need_stays(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    root = await videos.finished(seconds=2, picture=b"picture")
    branch, other = await videos.finished(root.id, seed=2), await videos.finished(root.id, seed=3)
    file = await videos.keep_file(b"file")
    before = store.keys("t/")
    clock.advance(24)
    report = await collect()
    assert [key for key in store.keys("t/") if keys.kind_of(key) != "marks"] == before
    assert sum(counts.collected.keys for counts in report.kinds.values()) == 0
    for video in (root, branch, other):
        await videos.whole(video.id)
    assert report.of("videos").live.keys == 3
    assert report.of("segments").live.keys == 4
    assert (await videos.files.get(TENANT, file.id)).id == file.id


async def test_a_deleted_video_goes_when_its_tombstone_is_old(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    video = await videos.finished()
    clock.advance(24)
    await videos.delete(video.id)
    clock.advance(0.9)
    assert (await collect()).of("blobs").live.keys == 4  # somebody may have named its segment a moment before
    clock.advance(0.2)
    report = await collect()
    assert report.of("blobs").collected.keys == 4
    assert report.of("segments").collected.keys == report.of("videos").collected.keys == 1
    assert store.keys("t/") == []


async def test_children_keep_their_parents_segments(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    root = await videos.finished(seconds=2)
    child = await videos.finished(root.id, seed=2)
    await videos.delete(root.id)
    clock.advance(24)
    report = await collect()
    await videos.whole(child.id)
    assert report.of("videos").live.keys == 2, "the tombstone stays with the child"
    with pytest.raises(NotFound):
        await videos.jobs.get(TENANT, root.id)
    await videos.delete(child.id)
    clock.advance(24)
    await collect()
    assert store.keys("t/") == []


async def test_a_branch_keeps_its_own_path_alone(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    root = await videos.finished()
    left, right = await videos.finished(root.id, seed=2), await videos.finished(root.id, seed=3)
    for video in (root, left):
        await videos.delete(video.id)
    clock.advance(2)
    await collect()
    await videos.whole(right.id)
    assert store.keys(f"t/{TENANT}/segments/") == sorted(
        f"t/{TENANT}/segments/{digest}" for digest in (*root.segments, *right.segments)
    )


async def test_a_dry_run_changes_nothing(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    await videos.delete((await videos.finished(picture=b"picture")).id)
    await videos.finished(seed=2, expires_ms=clock() + 1000)
    clock.advance(24 * 40)
    before = {entry async for entry in store.list("")}
    told = await collect(dry_run=True)
    assert {entry async for entry in store.list("")} == before
    really = await collect()
    assert told.expired_videos == really.expired_videos == 1
    assert {kind: counts.collected for kind, counts in told.kinds.items() if kind != "blobs"} == {
        kind: counts.collected for kind, counts in really.kinds.items() if kind != "blobs"
    }
    assert told.of("blobs").collected.keys == really.of("blobs").collected.keys > 0


async def test_what_is_young_is_spared(videos: StoredVideos, clock: Clock, collect: Collect) -> None:
    await videos.blobs.put(b"old")
    clock.advance(0.9)
    await videos.blobs.put(b"new")
    assert (await collect()).of("blobs").young.keys == 2
    clock.advance(0.2)
    report = await collect()
    assert (report.of("blobs").young.keys, report.of("blobs").collected.keys) == (1, 1)


async def test_bytes_that_are_written_again_are_young_again(
    videos: StoredVideos, clock: Clock, collect: Collect
) -> None:
    digest = await videos.blobs.put(b"twice")
    clock.advance(24)
    await videos.blobs.put(b"twice")
    await collect()
    assert await videos.blobs.get(digest) == b"twice"


async def test_a_long_attempt_keeps_what_it_wrote(videos: StoredVideos, clock: Clock, collect: Collect) -> None:
    running = await videos.start(await videos.accept())
    digest = await videos.blobs.put(b"not published yet")
    clock.advance(72)
    assert (await collect()).of("blobs").young.keys == 1
    await videos.end(running, JobState.FAILED)
    await collect()
    with pytest.raises(NotFound):
        await videos.blobs.get(digest)


# ── time to live ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_videos_own_end_and_those_of_the_settings(videos: StoredVideos, clock: Clock, collect: Collect) -> None:
    own = await videos.finished(expires_ms=clock() + 3_600_000)
    kept = await videos.finished(seed=2)
    clock.advance(2)
    assert (await collect()).expired_videos == 1
    with pytest.raises(NotFound):
        await videos.jobs.get(TENANT, own.id)
    assert (await collect(video_ttl_s=86_400)).expired_videos == 0
    clock.advance(24)
    assert (await collect(video_ttl_s=86_400, tenants={TENANT: None})).expired_videos == 0
    assert (await collect(tenants={"other": 60})).expired_videos == 0
    assert (await collect(tenants={TENANT: 86_400})).expired_videos == 1
    with pytest.raises(NotFound):
        await videos.jobs.get(TENANT, kept.id)
    assert (await videos.jobs.list(TENANT, limit=5)).records == ()


async def test_a_job_that_works_does_not_expire(videos: StoredVideos, clock: Clock, collect: Collect) -> None:
    waiting = await videos.accept(expires_ms=clock() + 1)
    running = await videos.start(await videos.accept(expires_ms=clock() + 1))
    clock.advance(24)
    assert (await collect(video_ttl_s=60)).expired_videos == 0
    assert (await videos.jobs.get(TENANT, waiting.id)).state is JobState.QUEUED
    assert (await videos.jobs.get(TENANT, running.id)).state is JobState.RUNNING


async def test_an_expired_parent_lives_on_in_its_children(videos: StoredVideos, clock: Clock, collect: Collect) -> None:
    root = await videos.finished(expires_ms=clock() + 1000)
    child = await videos.accept(root.id)
    clock.advance(24)
    assert (await collect()).expired_videos == 1
    clock.advance(24)
    await collect()
    made = await videos.make(child)
    await videos.whole(made.id)


async def test_a_file_expires_with_its_bytes(
    videos: StoredVideos, clock: Clock, collect: Collect, store: ClockedStore
) -> None:
    await videos.keep_file(b"short", expires_ms=clock() + 3_600_000)
    kept = await videos.keep_file(b"long")
    clock.advance(24)
    assert (await collect()).expired_files == 1
    clock.advance(2)
    await collect()
    assert len(store.keys(f"t/{TENANT}/blobs/")) == 1
    assert len(store.keys(f"t/{TENANT}/files/")) == len(store.keys(f"t/{TENANT}/files-by-time/")) == 1
    assert (await videos.files.get(TENANT, kept.id)).filename == "a.png"


async def test_a_file_that_stands_for_a_video_keeps_it(videos: StoredVideos, clock: Clock, collect: Collect) -> None:
    video = await videos.finished(expires_ms=clock() + 1000)
    of_video = {"id": derived_id("file_", TENANT, video.id), "video": video.id, "sha256": None}
    await videos.keep_file(b"", **of_video, expires_ms=clock() + 48 * 3_600_000)
    clock.advance(24)
    assert (await collect()).expired_videos == 0
    clock.advance(25)
    assert (await collect()).expired_videos == 1
