"""`longtake.v1` as a client sees it: watching, cancelling, deleting and listing videos; files and models."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import av
import grpc
import httpx
import pytest

from serving.gen.longtake.v1 import files_pb2, models_pb2, videos_pb2
from serving.paging import opaque
from tests.contract.longtake_door import Client, Video, opened, refused, settings_for
from tests.contract.sample_media import CAT

pytestmark = pytest.mark.anyio


async def test_a_watch_tells_every_segment_and_ends_with_the_last_state(client: Client) -> None:
    video = await client.create(seconds=3)
    events = await client.events(video.id, previews=True)

    kinds = [event.WhichOneof("event") for event in events]
    segments = [event.segment for event in events if event.HasField("segment")]
    assert [segment.index for segment in segments] == [0, 1, 2]
    assert segments[1].parent == segments[0].digest
    assert kinds.count("preview") == 3
    assert events[-1].video.state == Video.SUCCEEDED


async def test_a_watch_goes_on_from_its_cursor_and_repeats_nothing(client: Client) -> None:
    video = await client.create(seconds=3)
    events = await client.events(video.id)
    place = next(i for i, event in enumerate(events) if event.HasField("segment") and event.segment.index == 1)

    rest = await client.events(video.id, cursor=events[place].cursor)

    assert [event.segment.index for event in rest if event.HasField("segment")] == [2]
    assert rest[-1].video.state == Video.SUCCEEDED
    assert await client.events(video.id, cursor=events[-1].cursor) == []
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "cursor", "cursor"):
        await client.events(video.id, cursor="nonsense")


async def test_cancelling_a_waiting_video_ends_it_at_once_and_a_running_one_when_it_is_heard(client: Client) -> None:
    client.director.open = False
    try:
        waiting = await client.create()
        cancelled = await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=waiting.id))
    finally:
        client.director.open = True
    assert cancelled.state == Video.CANCELLED
    assert cancelled.HasField("end_time")
    assert (await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=waiting.id))).state == Video.CANCELLED

    running = await client.create("hang")
    await client.until(running.id, Video.RUNNING)
    await asyncio.sleep(0.1)
    asked = await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=running.id))
    assert asked.state == Video.RUNNING

    done = await client.made()
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "nothing to cancel"):
        await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=done.id))


async def test_a_deleted_video_is_gone_and_its_extension_stays_whole(client: Client) -> None:
    root = await client.made()
    longer = await client.ended(await client.extend(root.id))
    await client.videos.DeleteVideo(videos_pb2.DeleteVideoRequest(id=root.id))

    async with refused(grpc.StatusCode.NOT_FOUND, root.id):
        await client.get(root.id)
    async with httpx.AsyncClient() as web:
        assert (await web.get(root.url)).status_code == 404
        film = (await web.get(longer.url)).content
    with av.open(io.BytesIO(film), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 33
    hanging = await client.create("hang")
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "cancel it first"):
        await client.videos.DeleteVideo(videos_pb2.DeleteVideoRequest(id=hanging.id))


async def test_videos_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path)) as client:
        client.director.open = False
        made = []
        for number in range(5):
            made.append((await client.create(f"number {number}")).id)
            await asyncio.sleep(0.002)
        seen: list[str] = []
        token = ""
        while True:
            page = await client.videos.ListVideos(videos_pb2.ListVideosRequest(page_size=2, page_token=token))
            seen += [video.id for video in page.videos]
            token = page.next_page_token
            if not token:
                break
        assert seen == made[::-1]
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "page_size", "page_size"):
            await client.videos.ListVideos(videos_pb2.ListVideosRequest(page_size=-1))
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "page_token", "page_token"):
            await client.videos.ListVideos(videos_pb2.ListVideosRequest(page_token="../x"))


# ── files and models ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_files_go_in_and_come_back(client: Client) -> None:
    file = await client.upload(CAT * 2000)
    assert (file.filename, file.size_bytes, file.content_type) == ("cat.png", len(CAT) * 2000, "image/png")

    pieces = client.files.DownloadFile(files_pb2.DownloadFileRequest(id=file.id))
    assert b"".join([piece.data async for piece in pieces]) == CAT * 2000
    listed = await client.files.ListFiles(files_pb2.ListFilesRequest(page_size=1))
    assert listed.files[0] == file == await client.files.GetFile(files_pb2.GetFileRequest(id=file.id))
    await client.files.DeleteFile(files_pb2.DeleteFileRequest(id=file.id))
    async with refused(grpc.StatusCode.NOT_FOUND, file.id):
        await client.files.GetFile(files_pb2.GetFileRequest(id=file.id))


async def test_an_upload_begins_with_its_metadata_and_has_them_once(client: Client) -> None:
    data = files_pb2.UploadFileRequest(data=b"x")
    metadata = files_pb2.UploadFileRequest(metadata=files_pb2.UploadFileRequest.Metadata(filename="x"))
    for messages in ([data], [], [metadata, metadata], [metadata, data, metadata]):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "metadata", "metadata"):
            await client.files.UploadFile(iter(messages))


async def test_models_tell_what_they_can_do_with_exact_sizes(client: Client) -> None:
    (model,) = (await client.models.ListModels(models_pb2.ListModelsRequest())).models

    assert (model.name, model.default, model.seconds.max) == ("studio-1", True, 15)
    sizes = {(size.aspect_ratio, size.resolution): (size.width, size.height) for size in model.video_sizes}
    assert sizes["16:9", "720p"] == (224, 128)
    assert model == await client.models.GetModel(models_pb2.GetModelRequest(name="studio-1"))
    async with refused(grpc.StatusCode.NOT_FOUND, "studio-1"):
        await client.models.GetModel(models_pb2.GetModelRequest(name="x"))


async def test_a_watch_that_goes_on_from_any_event_skips_no_segment(client: Client) -> None:
    video = await client.made(seconds=3)
    events = await client.events(video.id, previews=True)
    want = [event.segment.digest for event in events if event.HasField("segment")]
    assert len(want) == 3
    for place, event in enumerate(events):
        rest = await client.events(video.id, cursor=event.cursor, previews=True)
        told = [one.segment.digest for one in events[: place + 1] if one.HasField("segment")]
        assert told + [one.segment.digest for one in rest if one.HasField("segment")] == want
        assert [one.preview.segment_index for one in rest if one.HasField("preview")] == list(range(len(told), 3))


async def test_a_cursor_of_an_earlier_version_is_gone_on_from(client: Client) -> None:
    """Watches are open while a front door is upgraded."""
    video = await client.made()
    kinds = [event.WhichOneof("event") for event in await client.events(video.id)]
    assert [event.WhichOneof("event") for event in await client.events(video.id, cursor=opaque("0:-1:-1:"))] == kinds


async def test_a_cursor_belongs_to_its_video(client: Client) -> None:
    first, second = await client.made(), await client.made()
    cursor = (await client.events(first.id))[-1].cursor
    for bad in (cursor, opaque(f"{second.id}:-1:0:0:"), opaque("1:2:"), "é"):
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "cursor", field="cursor"):
            await client.events(second.id, cursor=bad)
