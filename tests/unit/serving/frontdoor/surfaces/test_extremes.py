"""Whatever a stored record says, the lists and polls go on: extreme values in every number of jobs and of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import Corrupt
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.edge.auth import Caller
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.rooms import Rooms, build
from serving.frontdoor.surfaces.longtake.files import FilesService
from serving.frontdoor.surfaces.longtake.jobs import JobsService
from serving.frontdoor.surfaces.longtake.messages import VideoMessages
from serving.frontdoor.surfaces.longtake.videos import VideosService
from serving.frontdoor.surfaces.xai.files import XaiFiles
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, videos_pb2
from serving.gen.xai.api.v1 import files_pb2 as xai_pb2
from serving.jobs.history import Event, EventKind, Prediction, WorkSpan
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord, JobState
from serving.settings import Settings
from serving.store import keys
from serving.store.base import Store
from serving.store.open import open_store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST, record

pytestmark = pytest.mark.anyio
CALL = Call(Caller(tenant="default", api_key_id="", name="test"), None)  # type: ignore[arg-type]

EXTREMES = (0, -1, -(2**63), 2**31, 2**53, 10**14 - 2, 10**14, 253_402_300_800_000, 2**63 - 1, 2**63, 10**30)


def full() -> JobRecord:
    """A record in which every number is set."""
    span = WorkSpan(stage="denoiser", start_ms=1, end_ms=2)
    event = Event(
        kind=EventKind.COMMITTED,
        at_ms=3,
        attempt=1,
        epoch=1,
        segment=0,
        step=4,
        recomputed=5,
        spans=(span,),
        left_out=6,
    )
    predicted = Prediction(start_ms=1, end_ms=2, seconds={"denoiser": 1.5})
    times: dict[str, Any] = {"deadline_ms": 7, "expires_ms": 8, "started_ms": 9, "finished_ms": 10}
    return record(events=(event,), predicted=predicted, created_ms=2, **times)


def numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where in a record's JSON numbers stand, or could."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers(inner, (*path, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from numbers(inner, (*path, place))


PLACES = tuple(numbers(json.loads(full().encode())))
EVERY = 'created_at > "1960-01-01T00:00:00Z" OR size_bytes > 0'
FILE_PLACES = ("size", "created_ms", "expires_ms", "public.expires_ms", "version")


def put(value: Any, path: tuple[str | int, ...], number: int) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = number


class Door:
    """The services of a front door without servers."""

    def __init__(self, store: Store, rooms: Rooms, catalog: Catalog, clock: Clock) -> None:
        messages = VideoMessages(catalog, rooms.signer, store, clock.now_ms)
        self.store = store
        self.rooms = rooms
        self.videos = VideosService(rooms.creator, rooms.videos, messages)
        self.jobs = JobsService(
            rooms.jobs, rooms.videos, rooms.dead_jobs, rooms.backlog, rooms.forecast, messages, catalog
        )
        self.files = FilesService(rooms.files)
        self.xai = XaiFiles(rooms.files, rooms.signer, clock.now_ms)


@pytest.fixture(scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = await open_store(str(tmp_path_factory.mktemp("extremes") / "store"), probe=False)
    clock, catalog = Clock(ms=1000), Catalog([ServedModel(CAPABILITIES, DIGEST)], default=CAPABILITIES.model)
    settings = Settings(store=store.url, model=CAPABILITIES.model)
    metrics = PrometheusRecorder()
    rooms = await build(settings, store, catalog, http_address="127.0.0.1:1", metrics=metrics, now_ms=clock.now_ms)
    yield Door(store, rooms, catalog, clock)
    await store.close()


CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(EXTREMES)), min_size=1, max_size=4)
SLOW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@SLOW
@given(changes=CHANGES, ended=st.booleans())
async def test_a_job_with_any_numbers_hides_no_other_and_can_be_asked_for(
    door: Door, changes: list[tuple[tuple[str | int, ...], int]], ended: bool
) -> None:
    job = new_id("vid_")
    state = JobState.FAILED if ended else JobState.QUEUED
    written = json.loads(full().model_copy(update={"id": job, "state": state}).encode())
    for place, number in changes:
        put(written, place, number)
    healthy = (await door.rooms.jobs.create(record(new_id("vid_"), created_ms=3))).record
    await door.store.put_if_absent(keys.job_by_time("default", 2, job), b"")
    await door.store.put_if_absent(keys.active("default", 5, None, job), b"")
    await door.store.put_if_absent(keys.job("default", job), json.dumps(written).encode())
    try:
        listed = await door.videos.ListVideos(videos_pb2.ListVideosRequest(page_size=100), CALL)
        assert healthy.id in [video.id for video in listed.videos]
        assert MessageToJson(listed), "other languages' clients check what they read"
        waiting = await door.jobs.ListJobs(jobs_pb2.ListJobsRequest(), CALL)
        assert healthy.id in [one.video.id for one in waiting.jobs]
        assert MessageToJson(waiting)
        try:
            JobRecord.decode(json.dumps(written).encode())
        except ValueError:
            with pytest.raises(Corrupt):
                await door.videos.GetVideo(videos_pb2.GetVideoRequest(id=job), CALL)
        else:
            assert await door.videos.GetVideo(videos_pb2.GetVideoRequest(id=job), CALL)
            assert (await door.jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id=job), CALL)).video.id == job
    finally:
        for one in (job, healthy.id):
            for created in (2, 3):
                await door.store.delete(keys.job_by_time("default", created, one))
            await door.store.delete(keys.active("default", 5, None, one))


@SLOW
@given(place=st.sampled_from(FILE_PLACES), number=st.sampled_from(EXTREMES))
async def test_a_file_with_any_numbers_hides_no_other(door: Door, place: str, number: int) -> None:
    async def pieces() -> Any:
        yield b"\x89PNG\r\n\x1a\n"

    made = [await door.rooms.files.upload("default", "cat.png", pieces()) for _ in range(2)]
    stored = await door.store.get(keys.file("default", made[0].id))
    written = {**json.loads(stored.data), "public": {"token": "x", "expires_ms": None}}
    put(written, tuple(place.split(".")), number)
    await door.store.swap(keys.file("default", made[0].id), json.dumps(written).encode(), stored.version)
    try:
        ours = await door.files.ListFiles(files_pb2.ListFilesRequest(page_size=100), CALL)
        assert made[1].id in [file.id for file in ours.files]
        assert MessageToJson(ours)
        public = await door.xai.ListFiles(xai_pb2.ListFilesRequest(filter=EVERY), CALL)
        assert made[1].id in [file.id for file in public.data]
        assert MessageToJson(public)
    finally:
        for file in made:
            await door.store.delete(keys.file_by_time("default", file.created_ms, file.id))
