"""Jobs whose workers go away, whose input is wrong, or that meet a fault of ours: what becomes of each."""

from __future__ import annotations

import asyncio

import pytest

from serving.director import attempt, outcome
from serving.director.claims import Claims
from serving.errors import Corrupt, InvalidArgument, Unavailable
from serving.jobs.dead import DeadLetters, Quarantine
from serving.jobs.history import EventKind
from serving.jobs.lease import Leases
from serving.jobs.record import JobState
from serving.requests import ForeignSource
from serving.segments.lineage import Segments
from serving.stage_names import DENOISER
from serving.stages.contracts import PromptCall, PromptResult, StageLost
from serving.store import keys
from serving.store.blobs import Blobs
from tests.unit.serving.director.conftest import TENANT, Office
from tests.unit.serving.director.plain import PlainStages
from tests.unit.serving.later_version import rewrite
from tests.unit.serving.segments.manifests import manifests_of

pytestmark = pytest.mark.anyio


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
    path = await manifests_of(Segments(office.store, TENANT), done.segments[-1])
    assert [manifest.depth for manifest in path] == [0, 1, 2]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["the same Director", "another Director"])
async def test_a_caption_that_was_written_is_kept_by_every_later_attempt(
    office: Office, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    colours = iter(("red", "blue", "green"))

    async def write_prompt(stages: PlainStages, call: PromptCall) -> PromptResult:
        return PromptResult(
            (f"a {next(colours)} square at column 1, row 1 moves right under a white sky, the camera holds",)
        )

    monkeypatch.setattr(PlainStages, "write_prompt", write_prompt)
    office.stages.faults["render"] = [RuntimeError("a fault of ours")]
    first = await office.director()
    job = await office.job(seconds=2)
    if elsewhere:
        await office.until(job, lambda found: found.effective_prompt != "")
        await office.director()
        first.wake(TENANT, job.id)

    done = await office.ended(job)

    assert (done.state, done.attempt > 1 or elsewhere) == (JobState.SUCCEEDED, True)
    assert done.effective_prompt.startswith("a red square")
    path = await manifests_of(Segments(office.store, TENANT), done.segments[-1])
    assert {manifest.effective_prompt for manifest in path} == {done.effective_prompt}
    assert next(colours) == "blue"


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


@pytest.mark.parametrize(("second", "crashes"), [("replica-1", 0), ("replica-2", 2)], ids=["one death", "two deaths"])
async def test_a_death_that_two_calls_are_told_of_is_counted_once(
    office: Office, monkeypatch: pytest.MonkeyPatch, second: str, crashes: int
) -> None:
    monkeypatch.setattr(attempt, "MAX_CRASHES", 2)
    office.stages.faults["run_slice"] = [StageLost("gone", stage=DENOISER, died="replica-1")]
    office.stages.faults["render"] = [StageLost("gone", stage=DENOISER, died=second)]
    await office.director()

    done = await office.ended(await office.job())

    assert (done.state, done.crashes) == (JobState.FAILED if crashes else JobState.SUCCEEDED, crashes)
    lost = [event.text for event in done.events if event.kind is EventKind.LOST]
    assert (lost, done.attempt) == (["denoiser: gone"] * (1 + (second != "replica-1")), 1 + len(lost))


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
    assert await letters.quarantined(TENANT, blob) == Quarantine(job=done.id, stage="ingest", crashes=2)
    assert await letters.quarantined("another", blob) is None
    assert await letters.stage_of(TENANT, done.id) == "ingest"
    for key in (keys.quarantined(TENANT, blob), keys.dead_letter(TENANT, done.id)):
        await rewrite(office.store, key, mood="calm")
    assert await letters.quarantined(TENANT, blob) is not None, "a later version's"
    assert await letters.stage_of(TENANT, done.id) == "ingest"
    await rewrite(office.store, keys.dead_letter(TENANT, done.id), stage=7)
    assert await letters.stage_of(TENANT, done.id) == "", "it cannot be read"
    await letters.lift(done)
    assert await letters.quarantined(TENANT, blob) is None
    assert [dead async for dead in letters.of(TENANT)] == []

    await office.store.put_if_absent(keys.quarantined(TENANT, blob), b"{")
    with pytest.raises(Corrupt, match="give another file"):
        await letters.quarantined(TENANT, blob)


async def test_a_record_that_cannot_be_read_is_left_alone_and_hinders_nobody(office: Office) -> None:
    strange = await office.job()
    key = f"t/{TENANT}/jobs/{strange.id}"
    stored = await office.store.get(key)
    await office.store.swap(key, stored.data.replace(b'"state":"', b'"state":"un', 1), stored.version)
    director = await office.director()

    sound = await office.ended(await office.job())

    assert sound.state is JobState.SUCCEEDED
    director.wake(TENANT, strange.id)
    assert (await office.ended(await office.job())).state is JobState.SUCCEEDED
    assert b'"state":"un' in (await office.store.get(key)).data


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


async def test_an_undecodable_foreign_video_fails_with_the_reason(office: Office) -> None:
    blob = await Blobs(office.store, TENANT).put(b"no video at all")
    source = ForeignSource(blob=blob, seconds=3.0, height=360, width=640)
    await office.director()

    done = await office.ended(await office.job(ingests=source))

    assert done.state is JobState.FAILED
    assert done.error is not None
    assert done.error.code == "INVALID_ARGUMENT"


# ── cancelling, and other Directors ─────────────────────────────────────────────────────────────────────────────────


async def test_every_deadline_holds_though_the_store_was_away_when_one_of_them_was_ended(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await office.job(deadline_ms=1) for _ in range(5)]
    away: list[str] = []
    shipped = Claims.claim

    async def claim(claims: Claims, tenant: str, job: str, *, model: str) -> object:
        if not away:
            away.append(job)
            raise Unavailable("the store is away")
        return await shipped(claims, tenant, job, model=model)

    monkeypatch.setattr(Claims, "claim", claim)
    await office.director()
    async with asyncio.timeout(20):
        ends = [await office.ended(job) for job in jobs]

    assert len(away) == 1
    assert {end.state for end in ends} == {JobState.EXPIRED}


async def test_keys_that_are_no_jobs_hinder_nobody(office: Office) -> None:
    for stray in ("active/.DS_Store", "active/00/notes.txt", "active/00/studio/high/0/vid_x", "active/a/b/c/d/e/f"):
        await office.store.put_if_absent(stray, b"")
    await office.director()

    assert (await office.ended(await office.job())).state is JobState.SUCCEEDED
