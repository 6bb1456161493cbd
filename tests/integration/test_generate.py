"""The main job on a real local Ray with the real engines, seen by a client: every way to make a video, and what
becomes of it when a part dies."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from serving.gen.longtake.internal.v1 import director_pb2, director_pb2_grpc
from serving.gen.longtake.v1 import videos_pb2
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.runtime_keys import TOKEN_METADATA, director_address
from serving.store.open import open_store
from tests.integration.house import House, Video, fetch, foreign_mp4, frames_of, media_of, red_square, scene

LONG: dict[str, Any] = {"seconds": 15, "steps": 50}
"""Work for many seconds."""


def test_text_becomes_a_video_that_plays(house: House, tmp_path: Path) -> None:
    video = house.made(house.create(seconds=2, seed=5))

    assert (video.frames, video.width, video.height, video.fps) == (33, 864, 480, 16)
    assert video.effective_prompt.startswith(
        "a red square at column 1, row 1 moves right, ends at column 5, row 1 under a white sky"
    )
    assert video.progress.percent == 100
    assert len(video.segments) == 2
    frames = frames_of(fetch(video.url), tmp_path)
    assert frames.shape == (33, 480, 864, 3)


def test_the_same_seed_makes_the_same_bytes(house: House) -> None:
    first, second = (house.made(house.create(seconds=2, seed=11)) for _ in range(2))

    assert first.id != second.id
    # The header's mark names the video; the media behind it are equal.
    assert media_of(fetch(first.url)) == media_of(fetch(second.url))


def test_a_first_frame_is_where_the_video_starts(house: House, tmp_path: Path) -> None:
    picture = scene(red_square)
    url = "data:image/png;base64," + base64.b64encode(picture).decode()

    video = house.made(house.create("it moves right", seconds=1, first_frame=videos_pb2.Media(url=url)))

    opening = frames_of(fetch(video.url), tmp_path)[0].astype(int)
    assert abs(opening[200:240, 300:400].mean(axis=(0, 1)) - (230, 20, 20)).max() < 60
    assert opening[:60].mean() > 200


def test_a_reference_is_read_and_said(house: House) -> None:
    file = house.upload(scene(red_square, 64, 64), "sprite.png")

    video = house.made(house.create("<ref1> moves left", seconds=1, references=[videos_pb2.Media(file_id=file)]))

    assert len(video.effective_references) == 1
    assert "<ref1>" in video.effective_prompt


def test_extensions_grow_a_video_without_changing_what_is_there(house: House, tmp_path: Path) -> None:
    videos = [house.made(house.create(seconds=1))]
    for _ in range(4):
        videos.append(house.made(house.extend(videos[-1])))

    assert [video.frames for video in videos] == [17, 33, 49, 65, 81]
    assert videos[-1].parent_video_id == videos[-2].id
    lineage = house.videos.GetLineage(videos_pb2.GetLineageRequest(id=videos[-1].id))
    assert [segment.index for segment in lineage.segments] == [0, 1, 2, 3, 4]
    assert [a.digest for a in lineage.segments[:-1]] == [b.parent for b in lineage.segments[1:]]
    before, after = (frames_of(fetch(video.url), tmp_path) for video in videos[-2:])
    assert len(after) == 81
    np.testing.assert_array_equal(after[: len(before)], before)


def test_any_segment_can_be_branched_from(house: House) -> None:
    root = house.made(house.create(seconds=2))
    trunk = house.made(house.extend(root))

    branch = house.made(house.extend(root, segment=root.segments[0]))

    assert branch.frames == 33
    lineage = house.videos.GetLineage(videos_pb2.GetLineageRequest(id=branch.id))
    assert [segment.digest for segment in lineage.segments] == [root.segments[0], branch.segments[-1]]
    assert trunk.frames == 49


def test_a_returned_url_is_recognised_as_our_own_video(house: House) -> None:
    root = house.made(house.create(seconds=1))
    source = videos_pb2.Extension(media=videos_pb2.Media(url=root.url))

    longer = house.made(house.create(extends=source, seconds=1))

    assert longer.parent_video_id == root.id
    assert longer.frames == 33


def test_images_are_first_frames_enlarged(house: House, tmp_path: Path) -> None:
    made = house.made(house.create(kind=Video.KIND_IMAGE, images=2, aspect_ratio="1:1"))

    assert len(made.image_urls) == 2
    for url in made.image_urls:
        (tmp_path / "image.png").write_bytes(fetch(url))
        assert Image.open(tmp_path / "image.png").size == (960, 960)


def test_a_foreign_video_is_taken_in_and_continued(house: House, tmp_path: Path) -> None:
    file = house.upload(foreign_mp4(tmp_path / "phone.mp4"), "phone.mp4")
    source = videos_pb2.Extension(media=videos_pb2.Media(file_id=file))

    video = house.made(house.create("it moves right", extends=source, seconds=1))

    assert video.frames == 45 + 16
    assert any("45 frames" in warning for warning in video.warnings)
    frames = frames_of(fetch(video.url), tmp_path)
    assert len(frames) == 61
    # What came in is shown as it was, not as the model would draw it.
    assert abs(frames[0, 230, 120].astype(int) - (20, 20, 230)).max() < 40


def test_a_cancelled_video_stops_and_keeps_what_was_made(house: House) -> None:
    video = house.create(**LONG)
    for event in house.watch(video):
        if event.WhichOneof("event") == "segment":
            break

    house.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=video.id))
    last = house.ended(video)

    assert last.state == Video.CANCELLED
    assert 1 <= len(last.segments) < 15
    assert house.made(house.create(seconds=1)).frames == 17


def test_a_watch_goes_on_from_its_cursor(house: House) -> None:
    video = house.create(seconds=3, steps=20)
    cursor, segments = "", []
    for event in house.watch(video):
        cursor = event.cursor
        if event.WhichOneof("event") == "segment":
            segments.append(event.segment.index)
            break

    rest = list(house.watch(video, cursor))

    segments += [event.segment.index for event in rest if event.WhichOneof("event") == "segment"]
    assert segments == [0, 1, 2]
    steps = [event.video.progress.steps_done for event in rest if event.WhichOneof("event") == "video"]
    assert steps == sorted(steps)
    assert steps[-1] == 60


def test_previews_come_with_the_segments(house: House) -> None:
    previews = [
        event.preview for event in house.watch(house.create(seconds=2), previews=True) if event.HasField("preview")
    ]

    assert [preview.segment_index for preview in previews] == [0, 1]
    assert all(preview.png.startswith(b"\x89PNG") for preview in previews)


def test_polls_tell_of_progress_and_end(house: House) -> None:
    video = house.create(seconds=4, steps=30)
    seen = [house.get(video)]
    while seen[-1].state in (Video.QUEUED, Video.RUNNING):
        time.sleep(0.05)
        seen.append(house.get(video))

    assert seen[-1].state == Video.SUCCEEDED
    steps = [video.progress.steps_done for video in seen]
    assert steps == sorted(steps)
    assert len(set(steps)) > 4


def test_the_stages_tell_their_metrics_to_prometheus(house: House) -> None:
    house.made(house.create(seconds=1))
    wanted = {"longtake_steps_total", "longtake_stage_seconds_count", "longtake_engine_seconds_count"}
    wanted |= {"longtake_jobs_finished_total", "longtake_segments_committed_total", "longtake_cache_lookups_total"}
    ends = time.monotonic() + 60
    while missing := wanted - set(re.findall(r"^ray_(longtake_\w+)", fetch(house.metrics_url).decode(), re.MULTILINE)):
        assert time.monotonic() < ends, missing
        time.sleep(0.5)


def test_the_director_listens_to_nobody_without_the_token(house: House) -> None:
    async def address() -> str:
        store = await open_store(house.store, probe=False)
        found = await director_address(store)
        assert found is not None
        return found

    with grpc.insecure_channel(asyncio.run(address())) as channel:
        director = director_pb2_grpc.DirectorStub(channel)
        for metadata in ((), ((TOKEN_METADATA, "guess"),)):
            with pytest.raises(grpc.RpcError) as refused:
                director.Wake(director_pb2.WakeRequest(), metadata=metadata, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as refused:
                list(director.Watch(director_pb2.WatchRequest(), metadata=metadata, timeout=10))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as refused:
            director.Wake(director_pb2.WakeRequest(job="x" * (5 << 20)), compression=grpc.Compression.Gzip, timeout=10)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("deployment", "costs"),
    [
        pytest.param("director", {EventKind.ADOPTED}, id="director"),
        pytest.param("denoiser", {EventKind.LOST, EventKind.RESUMED}, id="denoiser"),
        pytest.param("renderer", set(), id="renderer"),
    ],
)
def test_videos_are_finished_though_a_replica_is_killed(house: House, deployment: str, costs: set[EventKind]) -> None:
    videos = [house.create(seconds=4, steps=40, seed=seed) for seed in (1, 2)]
    for event in house.watch(videos[0]):
        # Again where it died without work in hand, which costs nothing.
        if event.WhichOneof("event") == "segment" and not costs & _happened(house, videos):
            house.kill(deployment)
            if not costs:
                break

    ends = [house.made(video) for video in videos]
    assert [len(video.segments) for video in ends] == [4, 4]
    assert not costs or costs & _happened(house, videos)
    undisturbed = house.made(house.create(seconds=4, steps=40, seed=1))
    assert list(undisturbed.segments) != list(ends[0].segments)
    assert media_of(fetch(undisturbed.url)) == media_of(fetch(ends[0].url))


def test_every_replica_is_replaced_under_a_running_video(house: House) -> None:
    before = {name: house.pids(name) for name in ("director", "denoiser", "renderer")}
    video = house.create(seconds=10, steps=50, seed=5)
    for event in house.watch(video):
        if event.WhichOneof("event") == "segment":
            break

    house.roll_out()

    ends = time.monotonic() + 120
    while any(set(house.pids(name)) & set(old) for name, old in before.items()):
        assert time.monotonic() < ends, "the old replicas stay"
        time.sleep(0.2)
    (record,) = _records(house, [house.made(video)])
    assert (len(record.segments), record.state) == (10, JobState.SUCCEEDED)
    assert record.epoch > 1


def test_a_stage_that_no_replica_could_be_started_of_comes_back_by_itself(house: House) -> None:
    video = house.create(seconds=2)
    house.roll_out()
    ends = time.monotonic() + 20
    while time.monotonic() < ends:  # Serve gives a stage up after three that did not start
        house.kill("renderer")
        time.sleep(0.05)

    assert len(house.made(video).segments) == 2


def _happened(house: House, videos: list[Video]) -> set[EventKind]:
    return {EventKind(event.kind) for record in _records(house, videos) for event in record.events}


def _records(house: House, videos: list[Video]) -> list[JobRecord]:
    async def read() -> list[JobRecord]:
        store = await open_store(house.store, probe=False)
        try:
            return [await Jobs(store).get("default", video.id) for video in videos]
        finally:
            await store.close()

    return asyncio.run(read())
