"""`longtake.v1` as a client sees it: every method, every status, over a real front door and a directory store.

A studio stands in for the Director: it writes records and real segments through the repositories.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from typer.testing import CliRunner

from serving.cli.keys import app as keys_app
from serving.errors import SettingsError
from serving.frontdoor.catalog import Catalog, Model
from serving.frontdoor.server import FrontDoor
from serving.gen.longtake.v1 import files_pb2, files_pb2_grpc, models_pb2, models_pb2_grpc, videos_pb2, videos_pb2_grpc
from serving.settings import Admission, Auth, Grpc, Http, Settings, Uploads
from serving.store.open import open_store
from tests.contract.xai_house import CAT, FILM
from tests.contract.xai_studio import MODEL, Studio

pytestmark = pytest.mark.anyio
Video = videos_pb2.Video
CAT_URL = f"data:image/png;base64,{base64.b64encode(CAT).decode()}"


class Client:
    """Stubs of one front door, and what tests do with them again and again."""

    def __init__(self, door: FrontDoor, studio: Studio, channel: grpc.aio.Channel) -> None:
        self.door = door
        self.studio = studio
        self.channel = channel
        self.videos: videos_pb2_grpc.VideosAsyncStub = videos_pb2_grpc.VideosStub(channel)
        self.files: files_pb2_grpc.FilesAsyncStub = files_pb2_grpc.FilesStub(channel)
        self.models: models_pb2_grpc.ModelsAsyncStub = models_pb2_grpc.ModelsStub(channel)

    async def create(self, prompt: str = "x", **fields: object) -> Video:
        asked = {"seconds": 1, **fields}
        return await self.videos.CreateVideo(videos_pb2.CreateVideoRequest(prompt=prompt, **asked))  # type: ignore[arg-type]

    async def extend(self, parent: str, **fields: object) -> Video:
        return await self.create(extends=videos_pb2.Extension(video_id=parent), **fields)

    async def events(self, video: str, cursor: str = "", previews: bool = False) -> list[videos_pb2.WatchVideoResponse]:
        request = videos_pb2.WatchVideoRequest(id=video, cursor=cursor, previews=previews)
        return [event async for event in self.videos.WatchVideo(request, timeout=60)]

    async def made(self, prompt: str = "x", **fields: object) -> Video:
        return await self.ended(await self.create(prompt, **fields))

    async def ended(self, video: Video) -> Video:
        return (await self.events(video.id))[-1].video

    async def get(self, video: str) -> Video:
        return await self.videos.GetVideo(videos_pb2.GetVideoRequest(id=video))

    async def until(self, video: str, state: Video.State.ValueType) -> Video:
        async with asyncio.timeout(30):
            while (found := await self.get(video)).state != state:  # noqa: ASYNC110  (a client polls)
                await asyncio.sleep(0.02)
        return found

    async def upload(self, data: bytes, filename: str = "cat.png") -> files_pb2.File:
        metadata = files_pb2.UploadFileRequest.Metadata(filename=filename)
        first = files_pb2.UploadFileRequest(metadata=metadata)
        return await self.files.UploadFile(iter([first, files_pb2.UploadFileRequest(data=data)]))


def settings_for(folder: Path, **groups: object) -> Settings:
    fixed = {"grpc": Grpc(address="127.0.0.1:0"), "http": Http(address="127.0.0.1:0", url_ttl_s=3600)}
    return Settings(store=str(folder / "store"), model=MODEL.model, **{**fixed, **groups})


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Client]:
    store = await open_store(settings.store)
    door = FrontDoor(settings, store, Catalog([Model(MODEL, "5" * 64)], default=MODEL.model))
    await door.start()
    studio = Studio(store)
    async with studio.at_work(), grpc.aio.insecure_channel(door.grpc_address) as channel:
        yield Client(door, studio, channel)
    await door.stop(grace_s=0.2)
    await store.close()


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, one_event_loop: None) -> AsyncIterator[Client]:
    settings = settings_for(tmp_path_factory.mktemp("door"), uploads=Uploads(allow_loopback_urls=True))
    async with opened(settings) as client:
        yield client


@asynccontextmanager
async def refused(code: grpc.StatusCode, says: str, field: str = "") -> AsyncIterator[None]:
    """The call inside is refused with this status, and with `google.rpc` details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    error = caught.value
    assert (error.code(), says in str(error.details())) == (code, True), f"{error.code()}: {error.details()}"
    status = rpc_status.from_call(error)
    assert status is not None
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "longtake.dev"
    if field:
        assert any(detail.Unpack(violations) for detail in status.details)
        assert violations.field_violations[0].field == field


# ── what is made ────────────────────────────────────────────────────────────────────────────────────────────────────


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
    with av.open(io.BytesIO(answer.content)) as film:
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
    branched = await client.videos.GetLineage(videos_pb2.GetLineageRequest(id=other.id))
    assert [segment.digest for segment in branched.segments] == [root.segments[0], other.segments[0]]


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
    client.studio.open = False
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
        client.studio.open = True


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────

WRONG = [
    ({"seconds": 99}, "seconds"),
    ({"aspect_ratio": "4:3"}, "aspect_ratio"),
    ({"resolution": "8k"}, "resolution"),
    ({"codec": "vp9"}, "codec"),
    ({"steps": 99}, "steps"),
    ({"seed": -1}, "seed"),
    ({"images": 2}, "images"),
    ({"kind": 7}, "kind"),
    ({"prompt": "x" * 2001}, "prompt"),
    ({"first_frame": videos_pb2.Media()}, "first_frame"),
    ({"first_frame": videos_pb2.Media(url="ftp://example.com/cat.png")}, "first_frame"),
    ({"first_frame": videos_pb2.Media(url="data:image/png;base64,AAAA")}, "first_frame"),
    ({"first_frame": videos_pb2.Media(url="http://127.0.0.1:1/cat.png")}, "first_frame"),
    ({"references": [videos_pb2.Media(url=CAT_URL), videos_pb2.Media(url=CAT_URL[:-200])]}, "references[1]"),
    ({"extends": videos_pb2.Extension()}, "extends"),
    ({"extends": videos_pb2.Extension(media=videos_pb2.Media(url=CAT_URL))}, "extends.media"),
]


@pytest.mark.parametrize(("fields", "field"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_wrong_field_is_named(client: Client, fields: dict[str, object], field: str) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, field, field):
        await client.create(**{"prompt": "x", **fields})


async def test_unknown_things_are_not_found(client: Client) -> None:
    nothing = "vid_" + "a" * 26
    async with refused(grpc.StatusCode.NOT_FOUND, nothing):
        await client.get(nothing)
    async with refused(grpc.StatusCode.NOT_FOUND, "../../etc"):
        await client.get("../../etc")
    async with refused(grpc.StatusCode.NOT_FOUND, "studio-1"):
        await client.create(model="gpt-5")
    async with refused(grpc.StatusCode.NOT_FOUND, "first_frame"):
        await client.create(first_frame=videos_pb2.Media(file_id="file_" + "a" * 26))
    async with refused(grpc.StatusCode.NOT_FOUND, nothing):
        await client.extend(nothing)
    async with refused(grpc.StatusCode.NOT_FOUND, nothing):
        await client.events(nothing)


async def test_an_extension_waits_for_its_video(client: Client) -> None:
    hanging = await client.create("hang")
    await client.until(hanging.id, Video.RUNNING)
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "wait until it has succeeded"):
        await client.extend(hanging.id)

    failed = await client.made("fail")
    assert (failed.state, failed.error.code) == (Video.FAILED, "studio_fire")
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "make it again"):
        await client.extend(failed.id)


async def test_an_extension_names_a_segment_of_its_video(client: Client) -> None:
    root = await client.made()
    stranger = await client.made("another")
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "GetLineage", "extends.segment"):
        await client.create(extends=videos_pb2.Extension(video_id=root.id, segment=stranger.segments[0]))


async def test_a_resent_create_with_a_request_id_is_the_same_video(client: Client) -> None:
    first = await client.create(request_id="order-66", seed=5)
    again = await client.create(request_id="order-66", seed=5)

    assert again.id == first.id
    async with refused(grpc.StatusCode.ALREADY_EXISTS, "seed"):
        await client.create(request_id="order-66", seed=6)


async def test_equal_creates_without_a_mark_are_two_videos_and_with_one_the_same(client: Client) -> None:
    request = videos_pb2.CreateVideoRequest(prompt="twins", seconds=1)
    first = await client.videos.CreateVideo(request)
    second = await client.videos.CreateVideo(request)
    resent = await client.videos.CreateVideo(request, metadata=(("x-stainless-retry-count", "1"),))

    assert first.id != second.id
    assert resent.id == second.id


async def test_a_full_queue_and_a_draining_server_say_when_to_come_back(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path, admission=Admission(max_active_jobs=2))) as client:
        client.studio.open = False
        for _ in range(2):
            await client.create()
        async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "max_active_jobs"):
            await client.create()
        stopping = asyncio.create_task(client.door.stop(grace_s=2))
        await asyncio.sleep(0)
        async with refused(grpc.StatusCode.UNAVAILABLE, "shutting down"):
            await client.create()
        await stopping


# ── the life of a video ─────────────────────────────────────────────────────────────────────────────────────────────


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
    client.studio.open = False
    try:
        waiting = await client.create()
        cancelled = await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=waiting.id))
    finally:
        client.studio.open = True
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
    with av.open(io.BytesIO(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 33
    hanging = await client.create("hang")
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "cancel it first"):
        await client.videos.DeleteVideo(videos_pb2.DeleteVideoRequest(id=hanging.id))


async def test_videos_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path)) as client:
        client.studio.open = False
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


# ── the house itself ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tenants_see_nothing_of_each_other(tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    key = {}
    for tenant in ("one", "two"):
        command = ["add", "k", "--tenant", tenant, "--file", str(keys)]
        key[tenant] = CliRunner().invoke(keys_app, command).stdout.splitlines()[0]
    async with opened(settings_for(tmp_path, auth=Auth(keys_file=keys))) as client:
        header = {tenant: (("authorization", f"Bearer {key[tenant]}"),) for tenant in key}
        request = videos_pb2.CreateVideoRequest(prompt="x", seconds=1, request_id="same")
        mine = await client.videos.CreateVideo(request, metadata=header["one"])
        theirs = await client.videos.CreateVideo(request, metadata=header["two"])
        watching = client.videos.WatchVideo(videos_pb2.WatchVideoRequest(id=mine.id), metadata=header["one"])
        url = [event async for event in watching][-1].video.url
        assert mine.id != theirs.id

        async with refused(grpc.StatusCode.NOT_FOUND, mine.id):
            await client.videos.GetVideo(videos_pb2.GetVideoRequest(id=mine.id), metadata=header["two"])
        for extends in (
            videos_pb2.Extension(video_id=mine.id),
            videos_pb2.Extension(media=videos_pb2.Media(url=url)),
        ):
            async with refused(grpc.StatusCode.NOT_FOUND, ""):
                stolen = videos_pb2.CreateVideoRequest(prompt="x", extends=extends)
                await client.videos.CreateVideo(stolen, metadata=header["two"])
        async with refused(grpc.StatusCode.UNAUTHENTICATED, "no API key"):
            await client.get(mine.id)


async def test_health_and_reflection_know_all_services(client: Client) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", "longtake.v1.Videos", "xai_api.Video"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in reflection.ServerReflectionInfo(iter([asked])):
        names = {service.name for service in answer.list_services_response.service}
        assert {"longtake.v1.Videos", "longtake.v1.Files", "longtake.v1.Models", "xai_api.Video"} <= names


async def test_health_readiness_and_metrics_over_http(client: Client) -> None:
    async with httpx.AsyncClient(base_url=f"http://{client.door.http_address}") as web:
        assert (await web.get("/healthz")).text == "ok\n"
        assert (await web.get("/readyz")).json() == {"ready": True, "problems": {}}
        await client.made(prompt="a red square")
        metrics = (await web.get("/metrics")).text
    assert 'longtake_jobs_created_total{kind="video",source="new"}' in metrics
    assert "longtake_rpc_handled_total" in metrics


@pytest.mark.parametrize("group", ["grpc", "http"])
async def test_a_taken_port_is_one_clear_line(client: Client, tmp_path: Path, group: str) -> None:
    taken = client.door.grpc_address if group == "grpc" else client.door.http_address
    kind = Grpc if group == "grpc" else Http
    settings = settings_for(tmp_path, **{group: kind(address=taken)})
    with pytest.raises(SettingsError, match=f"cannot listen on {taken} .setting `{group}.address`"):
        async with opened(settings):
            pass
