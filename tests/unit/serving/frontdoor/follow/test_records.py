"""What a front door may answer from memory, and what it must read again."""

from __future__ import annotations

import asyncio

import pytest

from serving.errors import NotFound
from serving.frontdoor.follow.progress import progress_of
from serving.frontdoor.follow.records import LiveProgress, RecordCache, Records
from serving.jobs.record import JobRecord, JobState, Phase
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio


@pytest.fixture
def cache(clock: Clock) -> RecordCache:
    return RecordCache(clock=clock.seconds, most=3)


def key(of: JobRecord) -> tuple[str, str]:
    return (of.tenant, of.id)


def test_a_running_record_is_answered_only_while_the_director_vouches(cache: RecordCache, clock: Clock) -> None:
    running = record(state=JobState.RUNNING, version=2)
    cache.put(running)
    assert cache.lookup(key(running)) is None

    cache.vouch()
    clock.pass_s(1.0)
    found = cache.lookup(key(running))
    assert found is not None
    assert found.record == running

    clock.pass_s(0.1)
    assert cache.lookup(key(running)) is None


def test_a_terminal_record_is_answered_without_the_director_and_looked_at_again(
    cache: RecordCache, clock: Clock
) -> None:
    done = record(state=JobState.SUCCEEDED, version=5)
    cache.put(done)
    clock.pass_s(30)
    assert cache.lookup(key(done)) is not None
    clock.pass_s(1)
    assert cache.lookup(key(done)) is None
    cache.put(done)
    assert cache.lookup(key(done)) is not None


def test_an_older_version_never_replaces_a_newer_one(cache: RecordCache) -> None:
    cache.vouch()
    newer = record(state=JobState.RUNNING, version=3)
    cache.put(newer)

    assert cache.put(record(version=1)).record == newer


def test_a_break_in_the_stream_forgets_all_that_is_not_final(cache: RecordCache) -> None:
    running = record("vid_" + "b" * 26, state=JobState.RUNNING, version=2)
    done = record(state=JobState.SUCCEEDED, version=5)
    cache.put(running)
    cache.put(done)
    cache.ranked({key(running): "over its share"})
    cache.vouch()

    cache.forget_running()
    cache.vouch()

    assert cache.lookup(key(running)) is None
    assert cache.lookup(key(done)) is not None
    assert cache.why(key(running)) == "", "an earlier Director said so, and this one may not say at all"


def test_steps_make_a_new_view_so_that_rendered_answers_never_lie(cache: RecordCache) -> None:
    cache.vouch()
    running = record(state=JobState.RUNNING, phase=Phase.DENOISING, version=2)
    before = cache.put(running)
    before.rendered["wire"] = (0, b"old")

    cache.advance(key(running), 2, LiveProgress("denoising", 3, 0))

    after = cache.lookup(key(running))
    assert after is not None
    assert after.rendered == {}
    assert (progress_of(after).steps_done, progress_of(after).percent) == (3, 37)


def test_progress_of_a_version_that_is_not_here_yet_forgets_the_old_one(cache: RecordCache) -> None:
    cache.vouch()
    old = record(state=JobState.RUNNING, version=2)
    cache.put(old)

    cache.advance(key(old), 3, LiveProgress("denoising", 1, 0))

    assert cache.lookup(key(old)) is None


def test_memory_is_bounded(cache: RecordCache) -> None:
    cache.vouch()
    made = [record(f"vid_{letter * 26}", version=1) for letter in "abcd"]
    for one in made:
        cache.put(one)

    assert [cache.lookup(key(one)) is not None for one in made] == [False, True, True, True]


async def test_whoever_waits_is_woken_by_the_change(cache: RecordCache) -> None:
    first = cache.put(record(version=1))
    waiting = asyncio.create_task(cache.changed(key(first.record), first, 30))
    await asyncio.sleep(0)
    cache.put(record(state=JobState.RUNNING, version=2))

    await asyncio.wait_for(waiting, 5)


async def test_waiting_for_what_has_changed_already_returns_at_once(cache: RecordCache) -> None:
    first = cache.put(record(version=1))
    cache.put(record(state=JobState.RUNNING, version=2))

    await asyncio.wait_for(cache.changed(key(first.record), first, 30), 5)


async def test_a_cold_poll_reads_the_store_and_a_deleted_video_is_not_found(cache: RecordCache, store: Store) -> None:
    jobs = Jobs(store)
    records = Records(jobs, cache, Unrecorded())
    created = (await jobs.create(record())).record
    assert (await records.view("default", created.id)).record == created
    with pytest.raises(NotFound):
        await records.view("other", created.id)

    cancelled = await jobs.transition(created, state=JobState.CANCELLED)
    assert (await records.view("default", created.id)).record == cancelled
    await jobs.delete(cancelled)
    cache.drop(key(created))
    with pytest.raises(NotFound):
        await records.view("default", created.id)


def test_progress_is_100_only_when_the_result_is_there() -> None:
    cache = RecordCache(clock=lambda: 0.0)
    rendering = record(state=JobState.RUNNING, phase=Phase.RENDERING, steps_done=8, version=2)
    assert progress_of(cache.put(rendering)).percent == 99

    done = rendering.model_copy(update={"state": JobState.SUCCEEDED, "version": 3, "segments": ("ab" * 32, "cd" * 32)})
    progress = progress_of(cache.put(done))
    assert (progress.percent, progress.stage) == (100, "")
    assert (progress.segments_done, progress.segments_total) == (2, 2)


def test_a_job_that_is_made_anew_under_an_old_id_replaces_the_deleted_one(cache: RecordCache) -> None:
    gone = record(state=JobState.DELETED, version=9, created_ms=1_000)
    anew = record(version=1, created_ms=2_000)
    assert key(gone) == key(anew)
    cache.put(gone)
    assert cache.put(anew).record == anew
    assert cache.put(gone).record == anew
