"""The Director's whole loop over a real store and the real stages: claims, resumes, cancels, hands over."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from serving.errors import Conflict, InvalidArgument
from serving.estimates import Course
from serving.jobs.epoch import EpochLost
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord, JobState
from serving.media.still import png
from serving.requests import ForeignSource, Kind
from serving.segments.lineage import Segments
from serving.stage_names import DENOISER, RENDERER
from serving.stages.contracts import (
    INGESTS_AT_ONCE,
    RENDERS_AT_ONCE,
    IngestCall,
    IngestResult,
    RenderCall,
    RenderResult,
    SliceCall,
    SliceResult,
)
from serving.stages.interface import Ref
from serving.store.blobs import Blobs
from tests.unit.serving.director.conftest import TENANT, Office
from tests.unit.serving.segments.manifests import manifests_of

pytestmark = pytest.mark.anyio


async def test_a_job_is_made_segment_by_segment_and_leaves_the_active_list(office: Office) -> None:
    await office.director()
    job = await office.job(seconds=2)

    done = await office.ended(job)

    assert done.state is JobState.SUCCEEDED, done.error
    assert (done.attempt, done.epoch, done.steps_done) == (1, 1, 4)
    assert done.effective_prompt.startswith("a red square at column ")
    root, second = await manifests_of(Segments(office.store, TENANT), done.segments[-1])
    assert (root.parent, root.depth, root.frames, root.start_frame) == (None, 0, 17, 0)
    assert (second.parent, second.depth, second.frames, second.start_frame) == (root.digest(), 1, 16, 17)
    assert second.anchor == root.anchor
    assert sum(second.parts[0].fragment_frames) == 16
    await office.idle()


async def test_a_job_is_found_without_a_wake(office: Office) -> None:
    job = await office.job()  # before there is anybody to wake

    await office.director()

    assert (await office.ended(job)).state is JobState.SUCCEEDED


async def test_an_extension_goes_on_from_stored_latents_where_its_parent_ended(office: Office) -> None:
    await office.director()
    parent = await office.ended(await office.job())
    child = await office.job(parent=parent, prompt="a blue ring moves up")

    done = await office.ended(child)

    assert parent.effective_prompt.startswith("a red square at column ")
    assert done.effective_prompt.startswith("a red square at column ")
    path = await manifests_of(Segments(office.store, TENANT), done.segments[-1])
    assert [manifest.video for manifest in path] == [parent.id, child.id]
    conditions = office.stages.calls["condition"][-1]
    assert (conditions.anchor, conditions.tail) == (None, path[0].tail)
    assert conditions.before is not None
    assert (conditions.before.facts, path[0].facts != "") == (path[0].facts, True)


async def test_pictures_are_encoded_once_and_said(office: Office) -> None:
    blobs = Blobs(office.store, TENANT)
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 16:48] = (230, 20, 20)
    digest = await blobs.put(png(picture))
    await office.director()

    first = await office.ended(await office.job(references=(digest,)))
    second = await office.ended(await office.job(parent=first))

    assert first.state is second.state is JobState.SUCCEEDED
    assert first.effective_references == second.effective_references != ()
    assert len(office.stages.calls["read_inputs"]) == 1
    heads = [await Segments(office.store, TENANT).get(record.segments[-1]) for record in (first, second)]
    assert heads[0].references == heads[1].references


async def test_an_image_job_makes_pictures_and_no_segments(office: Office) -> None:
    await office.director()

    done = await office.ended(await office.job(kind=Kind.IMAGE, seconds=0, resolution="1k", images=2))

    assert done.state is JobState.SUCCEEDED, done.error
    assert (len(set(done.images)), done.segments, done.steps_done) == (2, (), 4)
    assert (await Blobs(office.store, TENANT).get(done.images[0])).startswith(b"\x89PNG")


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_running_job_is_cancelled_between_two_steps_and_keeps_its_segments(office: Office) -> None:
    director = await office.director()
    job = await office.job(seconds=15, steps=50)
    await office.until(job, lambda found: len(found.segments) >= 1)

    await _ask_to_cancel(office, job)
    director.wake(TENANT, job.id)
    done = await office.ended(job)

    assert done.state is JobState.CANCELLED
    assert 1 <= len(done.segments) < 15
    assert office.stages.calls["cancel"][-1].job == job.id
    await office.idle()


async def test_a_job_that_was_cancelled_while_it_waited_never_starts(office: Office) -> None:
    job = await office.job(cancel_requested=True)
    await office.director()

    done = await office.ended(job)

    assert (done.state, done.attempt) == (JobState.CANCELLED, 0)
    assert office.stages.calls["write_prompt"] == []


async def test_a_new_director_takes_over_and_the_old_one_stops_without_a_word(office: Office) -> None:
    await office.director()
    job = await office.job(seconds=4, steps=20)
    await office.until(job, lambda found: len(found.segments) >= 1)

    await office.director()
    done = await office.ended(job)

    assert (done.state, done.epoch, done.attempt) == (JobState.SUCCEEDED, 2, 1)
    assert [event.replica for event in done.events if event.kind is EventKind.ADOPTED] == ["replica-1"]
    with pytest.raises(EpochLost):
        await office.lives[0]
    path = await manifests_of(Segments(office.store, TENANT), done.segments[-1])
    assert [manifest.depth for manifest in path] == [0, 1, 2, 3]


async def test_a_director_that_starts_again_resumes_what_it_was_doing(office: Office) -> None:
    await office.director()
    job = await office.job(seconds=4, steps=20)
    before = await office.until(job, lambda found: len(found.segments) >= 1)
    office.lives[0].cancel()
    await asyncio.wait(office.lives)
    assert (await office.jobs.get(TENANT, job.id)).state is JobState.RUNNING

    await office.director()
    done = await office.ended(job)

    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    assert done.segments[: len(before.segments)] == before.segments


async def test_a_dead_replicas_attempt_is_followed_by_the_next_one(office: Office) -> None:
    """Director and replica die together: nobody beats the lease."""
    await office.director()
    job = await office.job(seconds=2, steps=50)
    await office.until(job, lambda found: len(found.segments) >= 1)
    office.lives[0].cancel()
    await asyncio.wait(office.lives)
    await office.stages.kill_denoiser()

    await office.director()
    done = await office.ended(job)

    assert (done.state, done.attempt, done.crashes) == (JobState.SUCCEEDED, 2, 0)
    claims = [event.text for event in done.events if event.kind is EventKind.CLAIMED]
    assert claims == ["", "its replica replica-1 was not heard of for 6 s"]


async def test_a_job_that_is_not_done_by_its_deadline_expires(office: Office) -> None:
    """The office's clock is a millisecond further at every look."""
    late = await office.job(deadline_ms=1)
    running = await office.job(seconds=15, steps=50, deadline_ms=1_700_000_000_100)
    await office.director()

    ends = [await office.ended(late), await office.ended(running)]

    assert [end.state for end in ends] == [JobState.EXPIRED] * 2
    assert [end.attempt for end in ends] == [0, 1]
    assert all(end.error is not None and end.error.code == "DEADLINE_EXCEEDED" for end in ends)
    await office.idle()


async def test_a_small_tenant_does_not_wait_for_a_large_ones_backlog(office: Office) -> None:
    crowd = [await office.job(tenant="crowd", seconds=15, steps=20) for _ in range(4)]
    await office.director(slots=1)
    await office.until(crowd[0], lambda found: len(found.segments) >= 1)

    done = await office.ended(await office.job(tenant="quiet"))

    states = [(await office.jobs.get("crowd", job.id)).state for job in crowd]
    assert done.state is JobState.SUCCEEDED
    assert JobState.SUCCEEDED not in states
    for job in crowd:
        await _ask_to_cancel(office, job)


async def test_an_urgent_job_does_not_wait_for_a_slot(office: Office) -> None:
    slow = await office.job(seconds=15, steps=50)
    await office.director(slots=1)
    await office.until(slow, lambda found: len(found.segments) >= 1)

    urgent = await office.ended(await office.job(priority=0))

    assert urgent.state is JobState.SUCCEEDED
    assert (await office.jobs.get(TENANT, slow.id)).state is JobState.RUNNING
    await _ask_to_cancel(office, slow)


async def test_watchers_are_told_why_jobs_have_their_places(office: Office) -> None:
    slow = await office.job(seconds=15, steps=50)
    director = await office.director(slots=1)
    await office.until(slow, lambda found: len(found.segments) >= 1)
    first, second = [await office.job(priority=9) for _ in range(2)]

    async for batch in director.watch(0, 0):
        whys = batch.whys or {}
        if second.key in whys and whys.get(first.key) == "next":  # both are read, and their age known
            break

    assert whys == {slow.key: "running", first.key: "next", second.key: "waits its turn"}
    for job in (slow, first, second):
        await _ask_to_cancel(office, job)


async def test_watchers_are_told_every_write_in_order(office: Office) -> None:
    director = await office.director()
    versions: list[int] = []
    states: list[JobState] = []
    watching = director.watch(0, 0)
    await anext(watching)
    await office.job()
    async for batch in watching:
        for event in batch.events:
            if event.record:
                record = JobRecord.decode(event.record)
                versions.append(record.version)
                states.append(record.state)
        if states and states[-1].terminal:
            break

    assert versions == sorted(versions)
    assert list(dict.fromkeys(states)) == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]


async def _ask_to_cancel(office: Office, job: JobRecord) -> None:
    """As the front door does."""
    while True:
        record = await office.jobs.get(job.tenant, job.id)
        try:
            await office.jobs.transition(record, cancel_requested=True)
        except Conflict:  # the Director was faster
            continue
        return


async def test_steps_of_a_segment_that_is_not_committed_yet_are_no_longer_left(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first slice is one step; the second one is held."""
    director, run_slice, held = await office.director(), office.stages.run_slice, asyncio.Event()

    async def until_held(call: SliceCall, conditions: Ref) -> SliceResult:
        if office.stages.calls["run_slice"]:
            held.set()
            await asyncio.Event().wait()
        return await run_slice(call, conditions)

    monkeypatch.setattr(office.stages, "run_slice", until_held)
    job = await office.job(seconds=2, steps=4)
    async with asyncio.timeout(60):
        await held.wait()

    left = director.backlogs()["sprite-2"].seconds
    estimates = director._schedule.estimates
    assert left[DENOISER] == pytest.approx(estimates.remaining(Course.of(job.plan, 1)))
    assert left[RENDERER] == pytest.approx(estimates.rendering(Course.of(job.plan, 0)))


async def test_an_urgent_job_waits_for_one_rendering_and_not_for_those_that_wait_for_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_slice, render = office.stages.run_slice, office.stages.render
    denoised, rendering = asyncio.Queue[str](), asyncio.Queue[str]()
    end = asyncio.Event()

    async def told(call: SliceCall, conditions: Ref) -> SliceResult:
        result = await run_slice(call, conditions)
        if result.done:
            denoised.put_nowait(call.job)
        return result

    async def one_by_one(call: RenderCall, latents: Ref) -> RenderResult:
        rendering.put_nowait(call.job)
        await end.wait()
        end.clear()
        return await render(call, latents)

    monkeypatch.setattr(office.stages, "run_slice", told)
    monkeypatch.setattr(office.stages, "render", one_by_one)
    await office.director(slots=5, renders=RENDERS_AT_ONCE)
    usual = [await office.job() for _ in range(RENDERS_AT_ONCE + 2)]
    async with asyncio.timeout(60):
        done = {await denoised.get() for _ in usual}
        urgent = await office.job(priority=0)
        assert await denoised.get() == urgent.id
        first = {await rendering.get() for _ in range(RENDERS_AT_ONCE)}
        assert first < done == {job.id for job in usual}
        assert rendering.empty(), "no more than the Renderers work on"

        end.set()

        assert await rendering.get() == urgent.id


async def test_no_more_films_are_sent_than_conditioners_take_in(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are not at a Conditioner, whose places are for conditions and pictures too."""
    taking: asyncio.Queue[str] = asyncio.Queue()
    end = asyncio.Event()

    async def one_by_one(call: IngestCall) -> IngestResult:
        taking.put_nowait(call.job)
        await end.wait()
        raise InvalidArgument("video", "it is none")

    monkeypatch.setattr(office.stages, "ingest", one_by_one)
    await office.director(slots=INGESTS_AT_ONCE + 4)
    source = ForeignSource(blob="0" * 64, seconds=3.0, height=360, width=640)
    films = [await office.job(ingests=source) for _ in range(INGESTS_AT_ONCE + 2)]
    async with asyncio.timeout(60):
        for _ in range(INGESTS_AT_ONCE):
            await taking.get()
        assert (await office.ended(await office.job())).state is JobState.SUCCEEDED
        assert taking.empty(), "no more than the Conditioners take in"

        end.set()

        assert {(await office.ended(film)).state for film in films} == {JobState.FAILED}
