"""The Director's whole loop over a real store and the real stages: claims, resumes, cancels, hands over."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from serving.director import attempt, outcome
from serving.errors import Conflict, InvalidArgument
from serving.jobs.dead import DeadLetters
from serving.jobs.epoch import EpochLost
from serving.jobs.history import EventKind
from serving.jobs.ids import new_id
from serving.jobs.lease import Leases
from serving.jobs.record import JobRecord, JobState
from serving.media.still import png
from serving.requests import ForeignSource, Kind
from serving.segments.lineage import Segments
from serving.stages.contracts import StageLost
from serving.store.blobs import Blobs
from tests.unit.serving.director.conftest import TENANT, Office

pytestmark = pytest.mark.anyio


async def test_a_job_is_made_segment_by_segment_and_leaves_the_active_list(office: Office) -> None:
    await office.director()
    job = await office.job(seconds=2)

    done = await office.ended(job)

    assert done.state is JobState.SUCCEEDED, done.error
    assert (done.attempt, done.epoch, done.steps_done) == (1, 1, 4)
    assert done.effective_prompt.startswith("a red circle moves right")
    root, second = await Segments(office.store, TENANT).path(done.segments[-1])
    assert (root.parent, root.depth, root.frames, root.start_frame) == (None, 0, 17, 0)
    assert (second.parent, second.depth, second.frames, second.start_frame) == (root.digest(), 1, 16, 17)
    assert second.anchor == root.anchor
    assert second.parts[0] == root.parts[0]
    assert sum(second.parts[1].fragment_frames) == 16
    await office.idle()


async def test_a_job_is_found_without_a_wake(office: Office) -> None:
    job = await office.job()  # before there is anybody to wake

    await office.director()

    assert (await office.ended(job)).state is JobState.SUCCEEDED


async def test_an_extension_continues_from_stored_latents_with_its_parents_caption(office: Office) -> None:
    await office.director()
    parent = await office.ended(await office.job())
    child = await office.job(parent=parent, prompt="a blue ring moves up")

    done = await office.ended(child)

    assert done.effective_prompt == parent.effective_prompt
    path = await Segments(office.store, TENANT).path(done.segments[-1])
    assert [manifest.video for manifest in path] == [parent.id, child.id]
    conditions = office.stages.calls["condition"][-1]
    assert (conditions.anchor, conditions.tail) == (path[0].anchor, path[0].tail)


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


async def test_a_lost_replica_costs_the_segment_that_it_worked_on_and_no_other(office: Office) -> None:
    office.stages.faults["render"] = []
    job = await office.job(seconds=3)
    await office.director()
    await office.until(job, lambda found: len(found.segments) == 1)
    office.stages.faults["render"].append(StageLost("gone"))

    done = await office.ended(job)

    assert done.state is JobState.SUCCEEDED
    assert done.attempt == 2
    assert len(office.stages.calls["render"]) == 4
    assert {call.segment for call in office.stages.calls["run_slice"]} == {0, 1, 2}
    lost = [event for event in done.events if event.kind is EventKind.LOST]
    assert [event.text for event in lost] == ["renderer: gone"]
    path = await Segments(office.store, TENANT).path(done.segments[-1])
    assert [manifest.depth for manifest in path] == [0, 1, 2]


async def test_what_the_user_can_mend_fails_the_job_at_once_with_the_reason(office: Office) -> None:
    office.stages.faults["write_prompt"].append(InvalidArgument("prompt", "it cannot be read"))
    await office.director()

    done = await office.ended(await office.job())

    assert (done.state, done.attempt) == (JobState.FAILED, 1)
    assert done.error is not None
    assert (done.error.code, done.error.message) == ("INVALID_ARGUMENT", "prompt: it cannot be read")
    await office.idle()


async def test_a_fault_of_ours_is_tried_again_and_then_fails_with_an_incident(office: Office) -> None:
    office.stages.faults["render"] = [RuntimeError("secret path")] * outcome.MAX_FAULTS
    await office.director()

    done = await office.ended(await office.job())

    assert (done.state, done.attempt) == (JobState.FAILED, outcome.MAX_FAULTS)
    assert done.error is not None
    assert done.error.code == "INTERNAL"
    assert "incident-2" in done.error.message
    assert "secret" not in done.error.message


async def test_attempts_that_are_lost_again_and_again_come_to_an_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MAX_CRASHES", 2)
    office.stages.faults["render"] = [StageLost("gone"), StageLost("gone")]
    await office.director()

    done = await office.ended(await office.job())

    assert (done.state, done.crashes) == (JobState.FAILED, 2)
    assert done.error is not None
    assert done.error.code == "WORKERS_CRASHED"
    assert [dead async for dead in DeadLetters(office.store).of(TENANT)] == [done.id]


async def test_an_input_that_keeps_killing_workers_is_quarantined(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MAX_CRASHES", 2)
    office.stages.faults["ingest"] = [StageLost("gone"), StageLost("gone")]
    blob = await Blobs(office.store, TENANT).put(b"a video that breaks decoders")
    await office.director()

    done = await office.ended(await office.job(ingests=ForeignSource(blob=blob, seconds=3.0, height=360, width=640)))

    letters = DeadLetters(office.store)
    assert done.error is not None
    assert (done.error.code, "longtake jobs requeue" in done.error.message) == ("WORKERS_CRASHED", True)
    assert await letters.quarantined(TENANT, blob) == {"job": done.id, "stage": "ingest", "crashes": 2}
    assert await letters.quarantined("another", blob) is None
    await letters.lift(done)
    assert await letters.quarantined(TENANT, blob) is None
    assert [dead async for dead in letters.of(TENANT)] == []


async def test_a_record_that_cannot_be_read_is_left_alone_and_hinders_nobody(office: Office) -> None:
    strange = await office.job()
    key = f"t/{TENANT}/jobs/{strange.id}"
    stored = await office.store.get(key)
    await office.store.swap(key, stored.data.replace(b'"version"', b'"verse"', 1), stored.version)
    director = await office.director()

    sound = await office.ended(await office.job())

    assert sound.state is JobState.SUCCEEDED
    director.wake(TENANT, strange.id)
    assert (await office.ended(await office.job())).state is JobState.SUCCEEDED
    assert b'"verse"' in (await office.store.get(key)).data


async def test_a_job_that_dies_with_its_worker_and_its_director_again_and_again_comes_to_an_end_too(
    office: Office,
) -> None:
    job = await office.job(crashes=attempt.MAX_CRASHES - 1, attempt=3, state=JobState.RUNNING)
    await Leases(office.store).take(job.id, 3, epoch=0, holder="replica-gone")
    await office.director()

    done = await office.ended(job)

    assert (done.state, done.attempt, done.crashes) == (JobState.FAILED, 3, attempt.MAX_CRASHES)


async def test_a_director_that_goes_away_counts_for_no_job(office: Office) -> None:
    job = await office.job(crashes=attempt.MAX_CRASHES - 1, attempt=3, state=JobState.RUNNING)
    await office.director()

    done = await office.ended(job)

    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 4)


async def test_a_job_of_a_model_that_was_taken_out_fails_and_ends_nothing_else(office: Office) -> None:
    like = await office.job()
    gone = like.model_copy(update={"id": new_id("vid_"), "plan": like.plan.model_copy(update={"model": "gone-1"})})
    gone = (await office.jobs.create(gone)).record
    await office.director()

    done = await office.ended(gone)

    assert (done.state, done.error.code if done.error else "") == (JobState.FAILED, "MODEL_UNKNOWN")
    assert "gone-1" in (done.error.message if done.error else "")
    assert (await office.ended(like)).state is JobState.SUCCEEDED


async def test_an_undecodable_foreign_video_fails_with_the_reason(office: Office) -> None:
    blob = await Blobs(office.store, TENANT).put(b"no video at all")
    source = ForeignSource(blob=blob, seconds=3.0, height=360, width=640)
    await office.director()

    done = await office.ended(await office.job(ingests=source))

    assert done.state is JobState.FAILED
    assert done.error is not None
    assert done.error.code == "INVALID_ARGUMENT"


# ── cancelling, and other Directors ─────────────────────────────────────────────────────────────────────────────────


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
    path = await Segments(office.store, TENANT).path(done.segments[-1])
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
        if second.key in whys:
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
