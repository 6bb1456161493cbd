"""The Python client, every method of both forms, against a real front door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import av
import grpc
import pytest

from serving.client import (
    AlreadyExists,
    AsyncClient,
    Extension,
    FailedPrecondition,
    InvalidArgument,
    Media,
    NotFound,
    NothingToDownload,
    Unauthenticated,
    Unavailable,
    Video,
    WaitTimeout,
    calls,
    create_request,
)
from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest
from serving.jobs.dead import DeadLetters
from serving.jobs.record import JobError, JobState
from serving.jobs.repository import Jobs
from serving.settings import Auth
from serving.store.open import open_store
from tests.contract.client_forms import FORMS, connected
from tests.contract.longtake_door import Client as Door
from tests.contract.longtake_door import opened, settings_for
from tests.contract.sample_media import CAT

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
async def door(folder: Path, one_event_loop: None) -> AsyncIterator[Door]:
    async with opened(settings_for(folder)) as door:
        yield door


@pytest.fixture(params=FORMS)
async def client(request: pytest.FixtureRequest, door: Door) -> AsyncIterator[AsyncClient]:
    async with connected(request.param, door.door.grpc_address) as client:
        yield client


async def made(client: AsyncClient, request: CreateVideoRequest) -> Video:
    video = await client.wait((await client.create(request)).id, timeout_s=60)
    assert video.state == Video.SUCCEEDED
    return video


async def test_a_video_is_planned_made_watched_and_saved(client: AsyncClient, tmp_path: Path) -> None:
    request = create_request("a red circle", seconds=2, aspect_ratio="1:1", seed=7)
    planned = await client.plan(request)
    assert (planned.id, planned.plan.segments, planned.width) == ("", 2, 64)

    video = await client.create(request)
    assert (video.seed, video.frames) == (7, 33)
    events = [event async for event in client.watch(video.id, previews=True)]
    assert [event.preview.segment_index for event in events if event.HasField("preview")] == [0, 1]
    assert events[-1].video.state == Video.SUCCEEDED
    rest = [event async for event in client.watch(video.id, cursor=events[0].cursor, previews=True)]
    assert rest[-1].cursor == events[-1].cursor
    assert [event async for event in client.watch(video.id, cursor=events[-1].cursor)] == []

    told: list[tuple[int, int]] = []
    path = tmp_path / "circle.mp4"
    size = await client.download(video.id, path, progress=lambda there, whole: told.append((there, whole)))
    assert told[-1] == (size, size) == (path.stat().st_size,) * 2
    with av.open(str(path)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 33
    assert list(tmp_path.iterdir()) == [path]


async def test_a_wait_tells_each_state_and_returns_the_last(client: AsyncClient) -> None:
    seen: list[Video] = []
    video = await client.create(create_request("x", seconds=3))
    done = await client.wait(video.id, progress=seen.append)
    assert done == seen[-1]
    assert done.state == Video.SUCCEEDED
    assert [v.progress.segments_done for v in seen] == sorted(v.progress.segments_done for v in seen)
    assert (await client.wait(done.id)).state == Video.SUCCEEDED


async def test_a_wait_that_ran_out_of_time_says_how_it_stands_and_cancels_nothing(client: AsyncClient) -> None:
    video = await client.create(create_request("hang", seconds=1))
    with pytest.raises(WaitTimeout, match="goes on") as caught:
        await client.wait(video.id, timeout_s=0.5)
    assert caught.value.id == video.id
    assert caught.value.video is not None
    assert caught.value.video.state in (Video.QUEUED, Video.RUNNING)
    assert (await client.get(video.id)).state in (Video.QUEUED, Video.RUNNING)
    assert not [event.kind for event in (await client.explain(video.id)).events if event.kind == "cancel_requested"]


async def test_a_watch_that_is_left_early_leaves_the_video_alone(client: AsyncClient) -> None:
    video = await client.create(create_request("x", seconds=2))
    async for _ in client.watch(video.id):
        break
    assert (await client.wait(video.id)).state == Video.SUCCEEDED


async def test_images_come_as_bytes_and_as_files(client: AsyncClient, tmp_path: Path) -> None:
    done = await made(client, create_request("a cat", kind=Video.KIND_IMAGE, images=2))
    images = await client.images(done.id)
    assert [image[:4] for image in images] == [b"\x89PNG"] * 2
    await client.download(done.id, tmp_path / "second.png", number=1)
    assert (tmp_path / "second.png").read_bytes() == images[1]
    with pytest.raises(NothingToDownload, match="0 to 1"):
        await client.download(done.id, tmp_path / "third.png", number=2)


async def test_what_is_not_there_cannot_be_downloaded(client: AsyncClient, tmp_path: Path) -> None:
    video = await client.create(create_request("hang", seconds=1))
    with pytest.raises(NothingToDownload, match=r"queued|running"):
        await client.download(video.id, tmp_path / "x.mp4")
    with pytest.raises(NothingToDownload, match="no images"):
        await client.images(video.id)
    assert not list(tmp_path.iterdir())


async def test_videos_are_listed_extended_traced_and_deleted(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await made(client, create_request("x", seconds=1))
    longer = await made(client, create_request(seconds=1, extends=Extension(video_id=root.id)))
    assert [found.id async for found in client.list(limit=2)] == [longer.id, root.id]
    assert len([found.id async for found in client.list(limit=1)]) == 1
    assert [found async for found in client.list(limit=0)] == []
    lineage = await client.lineage(longer.id)
    assert [segment.video_id for segment in lineage.segments] == [root.id, longer.id]
    monkeypatch.setattr(calls, "LINEAGE_PAGE", 1)
    assert await client.lineage(longer.id) == lineage, "over as many pages as it takes"
    await client.delete(longer.id)
    with pytest.raises(NotFound, match=longer.id):
        await client.get(longer.id)


async def test_a_list_goes_over_as_many_pages_as_it_takes(door: Door, client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(CAT)
    ids = [(await client.upload(tmp_path / "cat.png")).id for _ in range(103)]
    assert [file.id async for file in client.files(limit=102)] == ids[:0:-1]


async def test_a_waiting_video_is_cancelled(door: Door, client: AsyncClient) -> None:
    door.director.open = False
    try:
        video = await client.create(create_request("x", seconds=1))
        assert (await client.cancel(video.id)).state == Video.CANCELLED
    finally:
        door.director.open = True
    assert (await client.wait(video.id)).state == Video.CANCELLED
    done = await made(client, create_request("x", seconds=1))
    with pytest.raises(FailedPrecondition) as caught:
        await client.cancel(done.id)
    assert caught.value.reason == "VIDEO_ENDED"


async def test_files_are_kept_named_fetched_and_deleted(client: AsyncClient, tmp_path: Path) -> None:
    source = tmp_path / "cat.png"
    source.write_bytes(CAT)
    file = await client.upload(source, expire_after_s=3600)
    assert (file.filename, file.size_bytes, file.HasField("expire_time")) == ("cat.png", len(CAT), True)
    assert await client.file(file.id) == file
    assert file.id in [found.id async for found in client.files()]

    told: list[tuple[int, int]] = []
    size = await client.download_file(file.id, tmp_path / "copy.png", progress=lambda *there: told.append(there))
    assert (tmp_path / "copy.png").read_bytes() == CAT
    assert told[-1] == (size, size)

    by_id = await client.media(file.id)
    assert by_id == Media(file_id=file.id)
    assert await client.media("https://example.com/cat.png") == Media(url="https://example.com/cat.png")
    uploaded = await client.media(str(source))
    assert (await client.file(uploaded.file_id)).sha256 == file.sha256
    await made(client, create_request("x", seconds=1, references=[by_id]))

    await client.delete_file(file.id)
    with pytest.raises(NotFound):
        await client.download_file(file.id, tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError):
        await client.upload(tmp_path / "no-such-file.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "copy.png"]


async def test_jobs_are_listed_explained_and_run_again(door: Door, client: AsyncClient, folder: Path) -> None:
    video = await client.create(create_request("hang", seconds=1))
    await door.until(video.id, Video.RUNNING)
    assert video.id in [job.video.id for job in await client.jobs()]
    store = await open_store(str(folder / "store"), probe=False)
    record = await Jobs(store).get("default", video.id)
    while not record.steps_done:
        record = await Jobs(store).get("default", video.id)
    await DeadLetters(store).bury(record, stage="denoiser", why="it crashed", quarantine=False)
    error = JobError(code="WORKERS_CRASHED", message="it crashed")
    await Jobs(store).transition(record, state=JobState.FAILED, error=error)

    assert video.id in [job.video.id for job in await client.jobs(dead=True)]
    again = await client.requeue(video.id)
    assert again.id not in ("", video.id)
    assert (await client.requeue(video.id)).id == again.id
    assert (await client.explain(video.id)).events[0].kind == "created"


async def test_models_say_what_they_can(client: AsyncClient) -> None:
    (model,) = await client.models()
    assert await client.model(model.name) == model
    with pytest.raises(NotFound):
        await client.model("no-such-model")


async def test_a_refusal_keeps_code_reason_and_fields(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.create(create_request("x", seconds=99))
    error = caught.value
    assert (error.code(), error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert [violation.field for violation in error.violations] == ["seconds"]
    assert "seconds" in str(error)
    assert isinstance(error.__cause__, grpc.RpcError)


async def test_the_same_request_makes_one_video_and_another_under_its_id_is_refused(client: AsyncClient) -> None:
    request = create_request("x", seconds=1)
    assert (await client.create(request)).id == (await client.create(request)).id
    request.seconds = 2
    with pytest.raises(AlreadyExists, match="seconds"):
        await client.create(request)
    bare = CreateVideoRequest(prompt="x", seconds=1)
    assert (await client.create(bare)).id != (await client.create(bare)).id
    assert not bare.request_id


async def test_calls_at_the_same_time_share_one_client(client: AsyncClient) -> None:
    videos = await asyncio.gather(*(client.create(create_request("x", seconds=1)) for _ in range(8)))
    done = await asyncio.gather(*(client.wait(video.id) for video in videos))
    assert {video.state for video in done} == {Video.SUCCEEDED}
    assert len({video.id for video in done}) == 8


@pytest.mark.parametrize("form", FORMS)
async def test_nobody_there_is_unavailable(form: str) -> None:
    async with connected(form, "127.0.0.1:1", retries=1) as client:
        with pytest.raises(Unavailable):
            await client.get("vid_x")
        with pytest.raises(Unavailable):
            await client.wait("vid_x", timeout_s=5)


@pytest.mark.parametrize("form", FORMS)
async def test_an_api_key_goes_with_every_call(form: str, tmp_path: Path) -> None:
    import json
    from datetime import UTC, datetime

    from serving.frontdoor.edge.keys_file import StoredKey, digest_of

    stored = StoredKey(id="k", tenant="t", name="n", sha256=digest_of("secret"), created=datetime.now(UTC))
    keys = tmp_path / "keys.jsonl"
    keys.write_text(json.dumps(json.loads(stored.model_dump_json())) + "\n")
    (tmp_path / "cat.png").write_bytes(CAT)
    async with opened(settings_for(tmp_path, auth=Auth(keys_file=keys))) as door:
        async with connected(form, door.door.grpc_address, api_key="secret") as client:
            file = await client.upload(tmp_path / "cat.png")
            await client.download_file(file.id, tmp_path / "copy.png")
            video = await made(client, create_request("x", seconds=1))
            assert await client.download(video.id, tmp_path / "x.mp4")
        async with connected(form, door.door.grpc_address) as client:
            with pytest.raises(Unauthenticated):
                await client.get(video.id)
            with pytest.raises(Unauthenticated):
                await client.upload(tmp_path / "cat.png")
            with pytest.raises(Unauthenticated):
                [event async for event in client.watch(video.id)]
