"""`longtake.v1` as a client sees it: what is made, from text, pictures, files and other videos."""

from __future__ import annotations

import base64
import io

import av
import grpc
import httpx
import pytest
from PIL import Image

from serving.gen.longtake.v1 import videos_pb2
from tests.contract.longtake_door import CAT_URL, Client, Video, refused
from tests.contract.sample_media import CAT, FILM

pytestmark = pytest.mark.anyio


async def test_a_create_answers_at_once_and_echoes_every_default(client: Client) -> None:
    video = await client.videos.CreateVideo(videos_pb2.CreateVideoRequest(prompt="a cat"))

    assert video.id.startswith("vid_")
    assert video.state in (Video.QUEUED, Video.RUNNING)
    assert (video.seconds, video.aspect_ratio, video.resolution, video.codec) == (8, "16:9", "480p", "av1")
    assert (video.width, video.height, video.fps, video.frames) == (112, 64, 16, 129)
    assert (video.steps, video.progress.steps_total, video.progress.segments_total) == (4, 32, 8)
    assert video.url == ""
    await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=video.id))


async def test_a_finished_video_has_a_url_that_plays_without_credentials(client: Client) -> None:
    video = await client.made("a cat", aspect_ratio="1:1")

    assert (video.state, video.progress.percent, len(video.segments)) == (Video.SUCCEEDED, 100, 1)
    assert video.url_expire_time.seconds > video.end_time.seconds
    async with httpx.AsyncClient() as web:
        answer = await web.get(video.url)
        thumbnail = await web.get(video.thumbnail_url)
    with av.open(io.BytesIO(answer.content), "r") as film:
        assert sum(1 for _ in film.decode(video=0)) == video.frames == 17
    assert thumbnail.headers["content-type"] == "image/png"


async def test_an_image_job_returns_its_images_by_url(client: Client) -> None:
    images = await client.videos.CreateVideo(
        videos_pb2.CreateVideoRequest(prompt="a cat", kind=Video.KIND_IMAGE, images=3)
    )
    done = await client.ended(images)

    assert (done.kind, done.state, len(done.image_urls)) == (Video.KIND_IMAGE, Video.SUCCEEDED, 3)
    assert (done.width, done.height) == (448, 256)
    async with httpx.AsyncClient() as web:
        assert [(await web.get(url)).status_code for url in done.image_urls] == [200, 200, 200]
    again = await client.made(references=[videos_pb2.Media(url=done.image_urls[1])])
    assert again.state == Video.SUCCEEDED


async def test_a_first_frame_and_references_come_by_url_and_by_file(client: Client) -> None:
    file = await client.upload(CAT)
    by_file = videos_pb2.Media(file_id=file.id)
    by_url = videos_pb2.Media(url=CAT_URL)

    video = await client.made(first_frame=by_url, references=[by_file, by_url])

    assert video.state == Video.SUCCEEDED


async def test_a_first_frame_decides_the_shape_of_its_video(client: Client) -> None:
    png = io.BytesIO()
    Image.new("RGBA", (72, 128), (255, 255, 255, 0)).save(png, "PNG")
    upright = videos_pb2.Media(url="data:image/png;base64," + base64.b64encode(png.getvalue()).decode())
    planned = await client.create(first_frame=upright, references=[upright], validate_only=True)
    assert (planned.aspect_ratio, planned.width, planned.height) == ("1:1", 64, 64)  # as near as this model comes
    assert list(planned.warnings) == [
        "first_frame (72x128) is cropped by 44% to fit 64x64",
        "first_frame is transparent in parts, which are taken as black",
        "references[0] (72x128) is cropped by 44% to fit 32x32",
        "references[0] is transparent in parts, which are taken as black",
    ]
    asked = await client.create(first_frame=upright, aspect_ratio="16:9", validate_only=True)
    assert asked.aspect_ratio == "16:9"
    assert asked.warnings[0] == "first_frame (72x128) is cropped by 68% to fit 112x64"


async def test_extensions_chain_and_branch_and_their_lineage_says_so(client: Client) -> None:
    root = await client.made(seconds=2, codec="h264", resolution="720p")
    longer = await client.ended(await client.extend(root.id))
    longest = await client.ended(await client.extend(longer.id))
    branch = videos_pb2.Extension(video_id=longer.id, segment=root.segments[0])
    other = await client.ended(await client.create(extends=branch))

    assert (longest.codec, longest.resolution, longest.frames) == ("h264", "720p", 65)
    assert longest.parent_video_id == longer.id
    lineage = await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=longest.id))
    assert [segment.digest for segment in lineage.segments] == [*root.segments, *longer.segments, *longest.segments]
    assert [segment.start_frame for segment in lineage.segments] == [0, 17, 33, 49]
    assert lineage.duration.ToMilliseconds() == 65 * 1000 // 16
    assert lineage.next_page_token == ""
    for size, want in ((1, [1, 1, 1, 1]), (3, [3, 1]), (4, [4])):
        pages = await _lineage_pages(client, longest.id, size)
        assert [len(page.segments) for page in pages] == want
        assert [segment for page in pages for segment in page.segments] == list(lineage.segments)
        assert {page.duration.ToMilliseconds() for page in pages} == {lineage.duration.ToMilliseconds()}
    branched = await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=other.id))
    assert [segment.digest for segment in branched.segments] == [root.segments[0], other.segments[0]]


async def _lineage_pages(client: Client, video: str, size: int) -> list[videos_pb2.Lineage]:
    pages = [await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=video, page_size=size))]
    while token := pages[-1].next_page_token:
        request = videos_pb2.GetLineageRequest(id=video, page_size=size, page_token=token)
        pages.append(await client.videos.GetLineage(request))
    return pages


async def test_a_segment_tells_what_it_was_shown_and_where_in_the_video_that_is(client: Client) -> None:
    root = await client.made(seconds=2, references=[videos_pb2.Media(url=CAT_URL)])
    longer = await client.ended(await client.extend(root.id, seconds=2))
    shown = videos_pb2.ShownSource
    asked = videos_pb2.GetLineageRequest(id=longer.id, view=videos_pb2.LINEAGE_VIEW_HISTORY)
    first, second, third, newest = (await client.videos.GetLineage(asked)).segments

    assert [(source.kind, source.reference, source.tokens, source.shows) for source in first.history] == [
        (shown.REFERENCE, 0, 1, "a cat")
    ]
    assert (second.history_left_out, third.history_left_out, newest.history_left_out) == (1, 5, 9)
    memory, anchor, tail = newest.history
    assert (memory.kind, memory.tokens, memory.shows) == (shown.MEMORY, 3, "column 5 of 32")
    (latent,) = memory.latents  # 13 before it: 5, 4 and 4 of a segment each
    assert (latent.number, latent.segment, latent.segment_index) == (6, root.segments[1], 1)
    assert (latent.start_frame, latent.frames, latent.time.ToMilliseconds()) == (21, 4, 1312)
    (latent,) = anchor.latents
    assert (anchor.kind, latent.segment, latent.start_frame, latent.frames) == (shown.ANCHOR, root.segments[0], 0, 1)
    assert [(latent.number, latent.segment_index) for latent in tail.latents] == [(11, 2), (12, 2)]
    assert (tail.kind, tail.HasField("reference"), tail.tokens) == (shown.NEWEST, False, 14)


async def test_what_segments_were_shown_is_told_where_it_is_asked_for(client: Client) -> None:
    video = await client.made(seconds=4)
    whole = await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=video.id))
    assert all(not segment.history and not segment.history_left_out for segment in whole.segments)
    view = videos_pb2.LINEAGE_VIEW_HISTORY
    one = await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=video.id, view=view, page_size=1, skip=2))
    assert [segment.index for segment in one.segments] == [2]
    assert one.segments[0].history
    two = videos_pb2.GetLineageRequest(id=video.id, view=view, page_token=one.next_page_token)
    assert [segment.index for segment in (await client.videos.GetLineage(two)).segments] == [3]
    none = await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=video.id, skip=4))
    assert (list(none.segments), none.next_page_token, none.duration) == ([], "", whole.duration)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "negative", "skip"):
        await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=video.id, skip=-1))


async def test_an_own_video_is_recognised_by_url_by_file_and_by_an_uploaded_copy(client: Client) -> None:
    root = await client.made()
    async with httpx.AsyncClient() as web:
        copy = (await web.get(root.url)).content
    uploaded = await client.upload(copy, "copy.mp4")

    for media in (videos_pb2.Media(url=root.url), videos_pb2.Media(file_id=uploaded.id)):
        video = await client.ended(await client.create(extends=videos_pb2.Extension(media=media)))
        assert (video.parent_video_id, video.frames) == (root.id, 33)
        async with httpx.AsyncClient() as web:
            longer = (await web.get(video.url)).content
        # The media of the input stand in the extension bit by bit.
        assert copy[copy.index(b"moof") :] in longer


async def test_a_copy_that_was_changed_is_a_foreign_video(client: Client) -> None:
    root = await client.made()
    async with httpx.AsyncClient() as web:
        copy = bytearray((await web.get(root.url)).content)
    copy[-1] ^= 1
    uploaded = await client.upload(bytes(copy), "copy.mp4")

    # One second is too short for a foreign video: that it is refused shows that it was not taken for our own.
    extends = videos_pb2.Extension(media=videos_pb2.Media(file_id=uploaded.id))
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "", "extends.media"):
        await client.create(extends=extends)


async def test_a_foreign_video_is_ingested_with_the_nearest_canvas(client: Client) -> None:
    client.director.open = False
    try:
        file = await client.upload(FILM, "film.mp4")
        extends = videos_pb2.Extension(media=videos_pb2.Media(file_id=file.id))
        video = await client.create(extends=extends)
        assert (video.aspect_ratio, video.resolution, video.state) == ("16:9", "480p", Video.QUEUED)
        assert any("cropped" in warning for warning in video.warnings)
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "16:9", "aspect_ratio"):
            await client.create(extends=extends, aspect_ratio="1:1")
        await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=video.id))
    finally:
        client.director.open = True
