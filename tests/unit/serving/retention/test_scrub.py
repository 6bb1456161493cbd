"""A scrub finds what changed and what is missing, and says whose it is."""

from __future__ import annotations

from functools import partial

import pytest

from serving.retention.scrub import Scrub
from tests.unit.serving.retention.clocked_store import ClockedStore
from tests.unit.serving.retention.stored_videos import TENANT, StoredVideos

pytestmark = pytest.mark.anyio


def flip(store: ClockedStore, key: str, at: int = 0) -> None:
    """Change one byte on the disk."""
    path = store._path(key)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


async def test_a_whole_store_is_whole(videos: StoredVideos, store: ClockedStore) -> None:
    await videos.finished((await videos.finished(seconds=2, picture=b"picture")).id, seed=2)
    report = await Scrub(store).run()
    assert report.findings == []
    assert report.checked == len(store.keys(f"t/{TENANT}/blobs/")) + len(store.keys(f"t/{TENANT}/segments/"))


async def test_a_flipped_byte_is_found_with_every_video_that_needs_it(
    videos: StoredVideos, store: ClockedStore
) -> None:
    root = await videos.finished(seed=1)
    child, other = await videos.finished(root.id, seed=2), await videos.finished(seed=3)
    media = (await videos.segments.get(root.segments[0])).parts[0].blob
    flip(store, f"t/{TENANT}/blobs/{media}", at=5)
    (finding,) = (await Scrub(store).run()).findings
    assert finding.key == f"t/{TENANT}/blobs/{media}"
    assert sorted(finding.videos) == sorted([root.id, child.id])
    assert other.id not in finding.videos


async def test_a_damaged_manifest_is_found(videos: StoredVideos, store: ClockedStore) -> None:
    root = await videos.finished()
    child = await videos.finished(root.id, seed=2)
    flip(store, f"t/{TENANT}/segments/{root.segments[0]}", at=50)
    (finding,) = (await Scrub(store).run()).findings
    assert finding.key.endswith(root.segments[0])
    assert sorted(finding.videos) == sorted([root.id, child.id])


async def test_what_is_missing_is_found(videos: StoredVideos, store: ClockedStore) -> None:
    root = await videos.finished(picture=b"picture")
    child = await videos.finished(root.id, seed=2)
    manifest = await videos.segments.get(root.segments[0])
    lost = [f"t/{TENANT}/blobs/{manifest.parts[0].blob}", f"t/{TENANT}/blobs/{root.request.first_frame}"]
    for key in lost:
        await store.delete(key)
    found = {finding.key: sorted(finding.videos) for finding in (await Scrub(store).run()).findings}
    assert found == {lost[0]: sorted([root.id, child.id]), lost[1]: [root.id]}
    await store.delete(f"t/{TENANT}/segments/{root.segments[0]}")
    assert f"t/{TENANT}/segments/{root.segments[0]}" in {f.key for f in (await Scrub(store).run()).findings}


async def test_garbage_that_is_damaged_belongs_to_nobody(videos: StoredVideos, store: ClockedStore) -> None:
    video = await videos.finished()
    await videos.delete(video.id)
    digest = await videos.blobs.put(b"garbage")
    flip(store, f"t/{TENANT}/blobs/{digest}")
    (finding,) = (await Scrub(store).run()).findings
    assert finding.videos == []


def _digest_of(letter: str) -> str:
    return letter * 64


async def test_limited_scrubs_from_random_places_meet_everything(videos: StoredVideos, store: ClockedStore) -> None:
    video = await videos.finished(seconds=2)
    bad = (await videos.segments.get(video.segments[0])).latents.blob
    flip(store, f"t/{TENANT}/blobs/{bad}")
    found = set()
    for start in "0123456789abcdef":
        report = await Scrub(store, limit=5, start=partial(_digest_of, start)).run()
        assert report.checked == 5
        found |= {(finding.key, *finding.videos) for finding in report.findings}
    assert found == {(f"t/{TENANT}/blobs/{bad}", video.id)}


async def test_a_limited_scrub_wraps_around_and_counts_each_key_once(videos: StoredVideos, store: ClockedStore) -> None:
    await videos.finished(seconds=2)
    everything = len(store.keys(f"t/{TENANT}/blobs/")) + len(store.keys(f"t/{TENANT}/segments/"))
    report = await Scrub(store, limit=1000, start=lambda: "8" * 64).run()
    assert report.checked == everything
