"""Stores that earlier versions wrote (`tests/recorded`) are read, served, finished and kept whole by this one.

The oldest is of a model that is not there any more: what was made is served, and nothing of it goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from engines import models
from engines.session import load_session
from loadtests.studio import MODEL, TENANT, studio
from serving.clock import now_ms
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.server import FrontDoor
from serving.gen.longtake.v1 import files_pb2, files_pb2_grpc, jobs_pb2, jobs_pb2_grpc, videos_pb2, videos_pb2_grpc
from serving.gen.xai.api.v1 import video_pb2, video_pb2_grpc
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.reproduction.reproduce import reproduce
from serving.retention.collect import collect_once
from serving.retention.scrub import Scrub
from serving.settings import Grpc, Http, Retention, Settings
from serving.store import keys
from serving.store.base import Store
from serving.store.directory import DirectoryStore

RECORDED = Path(__file__).parents[1] / "recorded"
CHECKPOINT = 15
"""Steps of its second segment that the interrupted job of `directed` had saved when its process was killed."""

pytestmark = pytest.mark.anyio
Video = videos_pb2.Video


@pytest.fixture(params=["undirected", "directed"])
def recorded(request: pytest.FixtureRequest) -> Path:
    """One of them."""
    return RECORDED / str(request.param)


@pytest.fixture
def was(recorded: Path) -> dict[str, Any]:
    """What the version that wrote the store served."""
    found: dict[str, Any] = json.loads((recorded / "expected.json").read_text())
    return found


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """The recorded store, its objects as old as they are in the archive."""
    with tarfile.open(recorded / "store.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[Store]:
    opened = DirectoryStore(folder)
    await opened.open()
    yield opened
    await opened.close()


@asynccontextmanager
async def door(folder: Path, store: Store) -> AsyncIterator[grpc.aio.Channel]:
    """A front door before the store; nobody works behind it."""
    settings = Settings(
        store=str(folder), model=MODEL, grpc=Grpc(address="127.0.0.1:0"), http=Http(address="127.0.0.1:0")
    )
    session = await load_session(MODEL)
    catalog = Catalog([ServedModel(models.family(MODEL).capabilities, session.digest)], default=MODEL)
    session.close()
    opened = FrontDoor(settings, store, catalog)
    await opened.start()
    async with grpc.aio.insecure_channel(opened.grpc_address) as channel:
        yield channel
    await opened.stop(grace_s=0.2)


async def all_keys(store: Store) -> set[str]:
    return {entry.key async for entry in store.list("")}


@pytest.mark.parametrize("collected", [False, True], ids=["as it was", "after a collection"])
async def test_the_front_door_lists_and_serves_what_the_earlier_one_did(
    folder: Path, store: Store, was: dict[str, Any], *, collected: bool
) -> None:
    if collected:
        await _collect(store)
    async with door(folder, store) as channel, httpx.AsyncClient() as web:
        videos: videos_pb2_grpc.VideosAsyncStub = videos_pb2_grpc.VideosStub(channel)
        listed = (await videos.ListVideos(videos_pb2.ListVideosRequest())).videos
        assert [(video.id, video.state) for video in listed] == [
            (was["queued"], Video.QUEUED),
            (was["interrupted"], Video.RUNNING),
            (was["poison"], Video.FAILED),
            (was["image"], Video.SUCCEEDED),
            (was["extension"], Video.SUCCEEDED),
            (was["video"], Video.SUCCEEDED),
        ]
        served = {video.id: (await web.get(video.url)).content for video in listed if video.id in was["mp4_sha256"]}
        assert {name: hashlib.sha256(mp4).hexdigest() for name, mp4 in served.items()} == was["mp4_sha256"]
        image = (await web.get(listed[3].image_urls[0])).content
        assert hashlib.sha256(image).hexdigest() == was["image_sha256"]

        files: files_pb2_grpc.FilesAsyncStub = files_pb2_grpc.FilesStub(channel)
        (file,) = (await files.ListFiles(files_pb2.ListFilesRequest())).files
        pieces = [piece async for piece in files.DownloadFile(files_pb2.DownloadFileRequest(id=file.id))]
        assert file.id == was["file"]
        assert hashlib.sha256(b"".join(piece.data for piece in pieces)).hexdigest() == was["file_sha256"]

        kept = await _fetched(channel, was["video"])
        assert kept.file_output.filename == "circle.mp4", "the note to keep it is as old as the video"


async def test_a_dead_letter_is_known_and_can_be_done_again(folder: Path, store: Store, was: dict[str, Any]) -> None:
    async with door(folder, store) as channel:
        jobs: jobs_pb2_grpc.JobsAsyncStub = jobs_pb2_grpc.JobsStub(channel)
        history = await jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id=was["poison"]))
        assert history.video.error.code == "WORKERS_CRASHED"
        note = await store.get(keys.quarantined(TENANT, was["harmful_sha256"]))
        assert json.loads(note.data)["job"] == was["poison"]
        again = await jobs.RequeueJob(jobs_pb2.RequeueJobRequest(id=was["poison"]))
        assert again.state == Video.QUEUED
        left = await all_keys(store)
        assert keys.dead_letter(TENANT, was["poison"]) not in left
        assert keys.quarantined(TENANT, was["harmful_sha256"]) not in left


@pytest.mark.parametrize("recorded", [RECORDED / "directed"], ids=["directed"])
async def test_its_unfinished_jobs_are_finished_and_its_finished_ones_made_again(
    folder: Path, store: Store, was: dict[str, Any]
) -> None:
    await _collect(store)  # what goes must be missed by nobody
    async with studio(folder) as at_work:
        interrupted, queued = await asyncio.gather(
            _ended(at_work.seen, was["interrupted"]), _ended(at_work.seen, was["queued"])
        )
        assert (interrupted.state, queued.state) == (JobState.SUCCEEDED, JobState.SUCCEEDED)
        resumed = [event for event in interrupted.events if event.kind is EventKind.RESUMED]
        assert [(event.segment, event.step) for event in resumed] == [(1, CHECKPOINT)]

        async def differing(name: str) -> list[str]:
            compared = await reproduce(at_work.store, TENANT, was[name], at_work.session)
            return [digest.what for digest in compared if not digest.equal]

        assert await differing("queued") == []
        if "latents" not in await differing("video"):  # on another kind of processor sums differ in their last bits
            for name in ("video", "extension", "image", "interrupted"):
                assert await differing(name) == [], name


async def test_the_collector_takes_what_nobody_needs_alone_and_a_scrub_finds_all_whole(
    store: Store, was: dict[str, Any]
) -> None:
    gone = await _collect(store)
    ended = [was[name] for name in ("video", "extension", "image")]
    leases = {keys.lease(job, 1) for job in ended}
    assert gone >= leases, "nobody works on these any more"
    steps = {key for key in gone if keys.kind_of(key) == "checkpoints" and any(job in key for job in ended)}
    assert [keys.kind_of(key) for key in gone - leases - steps] == ["blobs"], (
        "an image's latents: only its picture is kept"
    )
    report = await Scrub(store).run()
    assert report.findings == []
    assert report.checked > 0


async def _collect(store: Store) -> set[str]:
    """Collect all that is old, which all of it is; what went."""
    before = await all_keys(store)
    report = await collect_once(store, Retention(cache_ttl_s=100 * 365 * 86_400), now_ms=now_ms)
    assert report.damaged == []
    return before - await all_keys(store)


async def _fetched(channel: grpc.aio.Channel, video: str) -> video_pb2.GeneratedVideo:
    stub: video_pb2_grpc.VideoAsyncStub = video_pb2_grpc.VideoStub(channel)
    answer = await stub.GetDeferredVideo(video_pb2.GetDeferredVideoRequest(request_id=video))
    return answer.response.video


async def _ended(jobs: Jobs, job: str) -> JobRecord:
    async with asyncio.timeout(120):
        while not (record := await jobs.get(TENANT, job)).state.terminal:  # noqa: ASYNC110  (the store tells nobody)
            await asyncio.sleep(0.05)
    return record
