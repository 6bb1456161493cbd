"""`longtake.v1.Jobs` and what creates say of deadlines, urgency and dead letters, through a real front door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from serving.director.events import Feed
from serving.estimates import Estimates, save
from serving.gen.longtake.v1 import jobs_pb2, jobs_pb2_grpc, videos_pb2
from serving.jobs.dead import DeadLetters
from serving.jobs.record import JobError, JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.runtime_keys import announce_director, shared_secret
from serving.stage_names import DENOISER
from serving.store.base import Store
from serving.store.keys import DIRECTOR_TOKEN, ESTIMATES
from serving.store.open import open_store
from tests.contract.fake_director import png
from tests.contract.longtake_door import Client, opened, refused, settings_for
from tests.unit.serving.frontdoor.follow.ingress import Ingress, serving

pytestmark = pytest.mark.anyio
TENANT = "default"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
async def client(folder: Path, one_event_loop: None) -> AsyncIterator[Client]:
    async with opened(settings_for(folder)) as client:
        yield client


@pytest.fixture
async def store(folder: Path) -> Store:
    return await open_store(str(folder / "store"), probe=False)


@pytest.fixture
def jobs(client: Client) -> jobs_pb2_grpc.JobsAsyncStub:
    return jobs_pb2_grpc.JobsStub(client.channel)


def _in(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMilliseconds(round((time.time() + seconds) * 1000))
    return moment


async def test_deadline_priority_and_time_to_live_are_kept_and_echoed(client: Client) -> None:
    due = _in(600)
    video = await client.create("x", deadline=due, priority=2, ttl=Duration(seconds=3600))
    assert (video.deadline, video.priority) == (due, 2)
    assert video.expire_time.ToMilliseconds() - video.create_time.ToMilliseconds() == 3_600_000
    assert (await client.create("x")).priority == 5


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"deadline": Timestamp(seconds=1)}, "deadline"),
        ({"priority": 10}, "priority"),
        ({"priority": -1}, "priority"),
        ({"ttl": Duration(seconds=1)}, "ttl"),
    ],
)
async def test_times_that_cannot_be_are_refused(client: Client, fields: dict[str, object], field: str) -> None:
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, field, field=field):
        await client.create("x", **fields)


async def test_a_plan_is_told_without_making_a_job(client: Client) -> None:
    before = [video.id for video in (await client.videos.ListVideos(videos_pb2.ListVideosRequest())).videos]
    video = await client.create("x", seconds=3, resolution="720p", validate_only=True)
    plan = video.plan
    assert video.id == ""
    assert (plan.segments, plan.frames, plan.steps) == (3, 49, 12)
    assert (video.width, video.height, plan.native_width, plan.native_height) == (224, 128, 112, 64)
    assert plan.engine_seconds["denoiser"] > 0
    assert plan.predicted_end_time.ToMilliseconds() > plan.predicted_start_time.ToMilliseconds()
    after = (await client.videos.ListVideos(videos_pb2.ListVideosRequest())).videos
    assert [video.id for video in after] == before
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "seconds", field="seconds"):
        await client.create("x", seconds=99, validate_only=True)


async def test_what_was_predicted_stays_with_the_job(client: Client) -> None:
    made = await client.made(seconds=1)
    assert made.plan.predicted_end_time.ToMilliseconds() > made.create_time.ToMilliseconds() - 1


async def test_a_deadline_that_the_work_alone_exceeds_is_refused(client: Client, store: Store) -> None:
    """As learnt: a step of this model takes an hour."""
    plan = (await Jobs(store).get(TENANT, (await client.create("x", seconds=1)).id)).plan
    learnt = Estimates()
    learnt.observe(DENOISER, plan, plan.segments[0], 3600.0)
    await save(store, learnt)
    async with asyncio.timeout(30):
        while True:
            planned = await client.create("x", seconds=1, validate_only=True)
            if planned.plan.engine_seconds["denoiser"] > 3600:
                break
            await asyncio.sleep(0.5)
    try:
        async with refused(grpc.StatusCode.FAILED_PRECONDITION, "the work alone takes about"):
            await client.create("x", seconds=1, deadline=_in(60))
    finally:
        found = await store.get(ESTIMATES)
        await store.swap(ESTIMATES, Estimates().encode() + b" ", found.version)


async def test_an_expired_video_says_so(client: Client, store: Store) -> None:
    record = await _left_half_done(client, store)
    error = JobError(code="DEADLINE_EXCEEDED", message="too late")
    await Jobs(store).transition(record, state=JobState.EXPIRED, error=error)
    events = await client.events(record.id)
    assert events[-1].video.state == videos_pb2.Video.EXPIRED
    assert events[-1].video.error.code == "DEADLINE_EXCEEDED"


async def test_the_queue_shows_what_waits(client: Client, store: Store, jobs: jobs_pb2_grpc.JobsAsyncStub) -> None:
    record = await _left_half_done(client, store)
    found = {job.video.id: job for job in (await jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs}
    waiting = found[record.id]
    assert waiting.remaining_seconds > 0
    await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=record.id))


@pytest.mark.parametrize("away", ["", "the stage denoiser is away"])
async def test_the_queue_says_why_a_job_waits_and_predicts_no_end_while_a_stage_or_the_director_is_away(
    tmp_path: Path, away: str
) -> None:
    settings = settings_for(tmp_path)
    async with opened(settings) as client:
        store = await open_store(str(tmp_path / "store"), probe=False)
        waiting = await _left_half_done(client, store)
        feed = Feed(epoch=1)
        feed.ranked({"sprite-2": {(TENANT, waiting.id): "over its share"}})
        feed.held_up({}, {"sprite-2": away} if away else {})
        stub: jobs_pb2_grpc.JobsAsyncStub = jobs_pb2_grpc.JobsStub(client.channel)
        async with serving(Ingress(feed, await shared_secret(store, DIRECTOR_TOKEN))) as address:
            await announce_director(store, address)
            async with asyncio.timeout(30):
                while True:
                    feed.beat()
                    (job,) = (await stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
                    if "over its share" in job.why:
                        break
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            while True:
                (left,) = (await stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
                if left.why == "no Director answers: it goes on when one does":
                    break
                await asyncio.sleep(0.05)
    assert job.why == "; ".join(filter(None, ("over its share", away)))
    assert job.remaining_seconds > 0
    assert (job.HasField("predicted_start_time"), job.HasField("predicted_end_time")) == (not away, not away)
    if not away:
        start, end = job.predicted_start_time.ToMilliseconds(), job.predicted_end_time.ToMilliseconds()
        assert time.time() - 60 < start / 1000 < end / 1000
        assert end - start >= 1000 * job.remaining_seconds - 1
    assert left.remaining_seconds > 0
    assert (left.HasField("predicted_start_time"), left.HasField("predicted_end_time")) == (False, False)


async def test_the_life_of_a_job_is_told_in_order(
    client: Client, store: Store, jobs: jobs_pb2_grpc.JobsAsyncStub
) -> None:
    record = await _left_half_done(client, store)
    await client.videos.CancelVideo(videos_pb2.CancelVideoRequest(id=record.id))
    history = await jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id=record.id))
    assert [event.kind for event in history.events] == ["created", "cancel_requested"]
    assert history.events[0].time == history.video.create_time
    async with refused(grpc.StatusCode.NOT_FOUND, "vid_nothing"):
        await jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id="vid_nothing"))


async def test_a_dead_letter_is_run_again_once(client: Client, store: Store, jobs: jobs_pb2_grpc.JobsAsyncStub) -> None:
    dead = await _dead(client, store)
    listed = await jobs.ListJobs(jobs_pb2.ListJobsRequest(dead=True))
    assert dead.id in [job.video.id for job in listed.jobs]

    again = await jobs.RequeueJob(jobs_pb2.RequeueJobRequest(id=dead.id))
    twice = await jobs.RequeueJob(jobs_pb2.RequeueJobRequest(id=dead.id))

    assert again.id == twice.id != dead.id
    assert (again.prompt, again.seed) == (dead.request.prompt, dead.plan.seed)
    waiting = {job.video.id: job for job in (await jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs}
    assert waiting[again.id].requeue_of == dead.id
    assert (await jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id=again.id))).requeue_of == dead.id
    assert not (await jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id=dead.id))).requeue_of
    assert (await client.get(dead.id)).state == videos_pb2.Video.FAILED
    assert dead.id not in [job.video.id for job in (await jobs.ListJobs(jobs_pb2.ListJobsRequest(dead=True))).jobs]


async def test_many_dead_letters_are_run_again_page_by_page_as_they_are_described(
    client: Client, store: Store, jobs: jobs_pb2_grpc.JobsAsyncStub
) -> None:
    async def asked(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            request = jobs_pb2.RequeueJobsRequest(page_size=2, page_token=token, **fields)
            page = await jobs.RequeueJobs(request)
            assert len(page.jobs) <= 2
            found += [job.id for job in page.jobs if bool(job.again) is not fields.get("validate_only", False)]
            token = page.next_page_token
            if not token:
                return found

    await asked()  # those of other tests
    dead = [(await _dead(client, store)).id for _ in range(5)]
    late = Timestamp()
    late.FromMilliseconds(round(1000 * time.time()) + 3_600_000)

    assert sorted(await asked(validate_only=True)) == sorted(dead)
    assert await asked(code="INTERNAL") == await asked(stage="renderer") == await asked(since=late) == []
    assert sorted(await asked(code="WORKERS_CRASHED", stage="conditioner", since=Timestamp(seconds=1))) == sorted(dead)
    assert await asked() == []
    waiting = [job.requeue_of for job in (await jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs]
    assert set(dead) <= set(waiting)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "WORKERS_CRASHED", field="code"):
        await jobs.RequeueJobs(jobs_pb2.RequeueJobsRequest(code="EXPIRED"))
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "token", field="page_token"):
        await jobs.RequeueJobs(jobs_pb2.RequeueJobsRequest(page_token="x"))
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "Timestamp", field="since"):
        await jobs.RequeueJobs(jobs_pb2.RequeueJobsRequest(since=Timestamp(seconds=1 << 62)))


async def test_what_failed_by_its_callers_fault_is_not_run_again(
    client: Client, jobs: jobs_pb2_grpc.JobsAsyncStub
) -> None:
    failed = await client.made(prompt="fail")
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "no dead letter"):
        await jobs.RequeueJob(jobs_pb2.RequeueJobRequest(id=failed.id))


async def test_an_input_in_quarantine_is_refused_until_it_is_lifted(
    client: Client, store: Store, jobs: jobs_pb2_grpc.JobsAsyncStub
) -> None:
    file = await client.upload(png(np.full((32, 32, 3), 90, np.uint8)))
    references = [videos_pb2.Media(file_id=file.id)]
    dead = await _dead(client, store, references=references, quarantine=True)
    async with refused(grpc.StatusCode.INVALID_ARGUMENT, "longtake jobs requeue", field="references[0]"):
        await client.create("x", references=references)

    await jobs.RequeueJob(jobs_pb2.RequeueJobRequest(id=dead.id))
    assert (await client.create("x", references=references)).id


async def _left_half_done(client: Client, store: Store, **fields: Any) -> JobRecord:
    """A running job that nobody works on."""
    video = await client.create("hang", **fields)
    await client.until(video.id, videos_pb2.Video.RUNNING)
    found = await Jobs(store).get(TENANT, video.id)
    while not found.steps_done:
        found = await Jobs(store).get(TENANT, video.id)
    return found


async def _dead(client: Client, store: Store, *, quarantine: bool = False, **fields: Any) -> JobRecord:
    record = await _left_half_done(client, store, **fields)
    await DeadLetters(store).bury(record, stage="conditioner", why="it crashed", quarantine=quarantine)
    error = JobError(code="WORKERS_CRASHED", message="it crashed")
    now_ms = round(1000 * time.time())
    return await Jobs(store).transition(record, state=JobState.FAILED, error=error, finished_ms=now_ms)


async def test_a_record_that_cannot_be_read_hides_no_other_job(
    client: Client, store: Store, jobs: jobs_pb2_grpc.JobsAsyncStub
) -> None:
    strange, sound = await _left_half_done(client, store), await _left_half_done(client, store)
    key = f"t/{TENANT}/jobs/{strange.id}"
    stored = await store.get(key)
    broken = await store.swap(key, stored.data.replace(b'"state":"', b'"state":"un', 1), stored.version)

    listed = [job.video.id for job in (await jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs]

    await store.swap(key, stored.data + b" ", broken)
    assert sound.id in listed
    assert strange.id not in listed


async def test_a_long_queue_is_listed_in_pages_and_in_order(tmp_path: Path) -> None:
    async with opened(settings_for(tmp_path)) as client:
        client.director.open = False
        jobs: jobs_pb2_grpc.JobsAsyncStub = jobs_pb2_grpc.JobsStub(client.channel)
        made = [(await client.create()).id for _ in range(7)]
        listed: list[str] = []
        expected: list[int] = []
        token, pages = "", 0
        while token or not pages:
            page = await jobs.ListJobs(jobs_pb2.ListJobsRequest(page_size=3, page_token=token))
            listed += [job.video.id for job in page.jobs]
            # None is told once no Director has answered for five seconds.
            expected += [job.predicted_end_time.ToMilliseconds() for job in page.jobs if job.predicted_end_time.seconds]
            token, pages = page.next_page_token, pages + 1
        assert (listed, pages) == (made, 3)
        assert expected == sorted(expected), "a job of a later page is done after those of the pages before"
        async with refused(grpc.StatusCode.INVALID_ARGUMENT, "not a token of this list", field="page_token"):
            await jobs.ListJobs(jobs_pb2.ListJobsRequest(page_token="x"))
