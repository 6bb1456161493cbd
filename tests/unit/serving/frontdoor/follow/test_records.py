"""What a front door may answer from memory, and what it must read again."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from serving.errors import NotFound
from serving.frontdoor.follow.progress import progress_of
from serving.frontdoor.follow.recent import ENTRY_BYTES, Recent
from serving.frontdoor.follow.records import SILENT_S, RecordCache, Records
from serving.frontdoor.follow.views import LiveProgress, kept
from serving.jobs.history import Event, EventKind, WorkSpan
from serving.jobs.record import JobRecord, JobState, Phase
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio


@pytest.fixture
def cache(clock: Clock) -> RecordCache:
    return RecordCache(clock=clock.seconds)


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


def test_an_older_version_says_nothing_of_a_terminal_one(cache: RecordCache, clock: Clock) -> None:
    done = record(state=JobState.SUCCEEDED, version=5)
    cache.put(done)
    clock.pass_s(31)

    cache.put(record(state=JobState.RUNNING, version=3))

    assert cache.lookup(key(done)) is None, "another front door may have deleted it"


def test_an_older_version_never_replaces_a_newer_one(cache: RecordCache) -> None:
    cache.vouch()
    newer = record(state=JobState.RUNNING, version=3)
    cache.put(newer)

    assert cache.put(record(version=1)).record == newer


def test_a_break_in_the_stream_makes_no_job_older(cache: RecordCache) -> None:
    """A message that was on its way when all was forgotten comes first, and the ones after it later."""
    newer = record(state=JobState.RUNNING, version=3)
    cache.put(newer)
    cache.advance(key(newer), 3, LiveProgress("denoising", 3, 0))
    cache.forget_running()

    cache.put(record(version=1))
    cache.vouch()
    assert cache.lookup(key(newer)) is None

    cache.put(newer)
    found = cache.lookup(key(newer))
    assert found is not None
    assert (found.record, found.kept.progress) == (newer, None)


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


def test_a_director_that_vouches_for_nothing_for_a_while_is_said_to_be_away(cache: RecordCache, clock: Clock) -> None:
    assert cache.silence() == "", "it may be starting, too"
    clock.pass_s(SILENT_S + 0.1)
    assert cache.silence() == "no Director answers: it goes on when one does"
    cache.vouch()
    cache.forget_running()
    clock.pass_s(SILENT_S - 0.1)
    assert cache.silence() == "", "a stream that breaks is opened again"


def test_while_a_stage_is_away_all_wait_for_it_but_those_of_whom_the_director_says_otherwise(
    cache: RecordCache,
) -> None:
    goes_on, stands, unknown = (("studio", name) for name in ("vid_a", "vid_b", "vid_c"))
    cache.ranked({goes_on: "running", stands: "the renderer is away"}, {stands}, ["tiny"])
    assert not cache.held_up(stands, "tiny"), "nobody vouches for it"
    cache.vouch()
    assert [cache.held_up(job, "tiny") for job in (goes_on, stands, unknown)] == [False, True, True]
    assert not cache.held_up(unknown, "other"), "the other model's stages are there"

    cache.ranked({goes_on: "running", stands: "running"})
    assert not any(cache.held_up(job, "tiny") for job in (goes_on, stands, unknown))


def test_steps_make_a_new_view_so_that_rendered_answers_never_lie(cache: RecordCache) -> None:
    cache.vouch()
    running = record(state=JobState.RUNNING, phase=Phase.DENOISING, version=2)
    before = cache.put(running)
    cache.answered(before, "wire", 0, b"old")

    cache.advance(key(running), 2, LiveProgress("denoising", 3, 0))

    after = cache.lookup(key(running))
    assert after is not None
    assert (before.answer("wire", 0), after.answer("wire", 0)) == (b"old", None)
    assert (progress_of(after).steps_done, progress_of(after).percent) == (3, 37)


def test_progress_of_a_version_that_is_not_here_yet_forgets_the_old_one(cache: RecordCache) -> None:
    cache.vouch()
    old = record(state=JobState.RUNNING, version=2)
    cache.put(old)

    cache.advance(key(old), 3, LiveProgress("denoising", 1, 0))

    assert cache.lookup(key(old)) is None


def test_an_answer_is_remembered_for_its_minute_and_only_of_the_newest_view(cache: RecordCache) -> None:
    cache.vouch()
    waiting = record(version=1)
    old = cache.put(waiting)
    cache.answered(old, "wire", 7, b"waits")
    known = cache.lookup(key(waiting))
    assert known is not None
    assert (known.answer("wire", 7), known.answer("wire", 8), known.answer("other", 7)) == (b"waits", None, None)

    running = cache.put(record(state=JobState.RUNNING, version=2))
    cache.answered(old, "wire", 7, b"waits, said too late")

    assert running.answer("wire", 7) is None


def test_memory_is_bounded_in_bytes_and_keeps_what_is_used(clock: Clock) -> None:
    cache = RecordCache(clock=clock.seconds, most_bytes=40_000)
    cache.vouch()
    small = [record(f"vid_{letter * 26}", version=1) for letter in "abcd"]
    for one in small:
        cache.put(one)
    assert cache.lookup(key(small[0])) is not None

    large = record("vid_" + "x" * 26, version=1, warnings=("w" * 30_000,))
    cache.put(large)

    there = [cache.lookup(key(one)) is not None for one in (*small, large)]
    assert (there[0], there[4]) == (True, True), "the last used, and the newest"
    assert not there[1]


def test_answers_count_too(clock: Clock) -> None:
    cache = RecordCache(clock=clock.seconds, most_bytes=40_000)
    cache.vouch()
    old, new = record("vid_" + "a" * 26, version=1), record("vid_" + "b" * 26, version=1)
    cache.put(old)
    view = cache.put(new)

    cache.answered(view, "wire", 0, b"x" * (40_000 - kept(new).size - ENTRY_BYTES))

    assert (cache.lookup(key(old)), cache.lookup(key(new)) is not None) == (None, True)


@pytest.mark.parametrize("segments", [0, 15], ids=["waiting", "15 segments"])
def test_what_is_counted_is_what_it_costs(segments: int) -> None:
    """Of many jobs, with answers: Python's own count of the memory, within a fifth."""
    span = WorkSpan(stage="denoising", start_ms=1_700_000_000_000, end_ms=1_700_000_009_000, replica="r" * 8)
    event = Event(kind=EventKind.COMMITTED, at_ms=1_700_000_000_000, attempt=1, epoch=3, segment=1, spans=(span,) * 3)
    like = record(events=(event,) * segments, segments=("ab" * 32,) * segments, warnings=("w" * 50,))
    memory: Recent[tuple[str, str], object] = Recent(1 << 30)
    data = like.encode()
    tracemalloc.start()
    try:
        for number in range(2000):
            one = JobRecord.decode(data.replace(b"a" * 26, f"{number:026d}".encode()))
            view = kept(one)
            view.answers["longtake.v1"] = (28_000_000 + number, bytes(bytearray(900)))
            memory.put(view.key, view, view.size)
        del one, view
        real = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert real < 1.2 * memory.size
    assert memory.size < 1.3 * real


async def test_whoever_waits_is_woken_by_the_change(cache: RecordCache) -> None:
    first = cache.put(record(version=1))
    waiting = asyncio.create_task(cache.changed(first, 30))
    await asyncio.sleep(0)
    cache.put(record(state=JobState.RUNNING, version=2))

    await asyncio.wait_for(waiting, 5)


async def test_waiting_for_what_has_changed_already_returns_at_once(cache: RecordCache) -> None:
    first = cache.put(record(version=1))
    cache.put(record(state=JobState.RUNNING, version=2))

    await asyncio.wait_for(cache.changed(first, 30), 5)


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


async def test_however_many_wait_for_a_job_one_of_them_reads(store: Store, cache: RecordCache, clock: Clock) -> None:
    jobs = Counting(store)
    records = Records(jobs, cache, Unrecorded())
    job = (await jobs.create(record())).record
    for _ in range(3):
        views = await asyncio.gather(*(records.lately(job.tenant, job.id) for _ in range(50)))
        assert {view.kept.key[1] for view in views} == {job.id}
    assert jobs.reads == 1
    clock.pass_s(0.6)
    await asyncio.gather(*(records.lately(job.tenant, job.id) for _ in range(50)))
    assert jobs.reads == 2
    said = await asyncio.gather(*(records.lately("other", job.id) for _ in range(3)), return_exceptions=True)
    assert {type(one) for one in said} == {NotFound}


class Counting(Jobs):
    """Counts how often a record is read."""

    reads = 0

    async def get(self, tenant: str, job: str) -> JobRecord:
        self.reads += 1
        await asyncio.sleep(0)
        return await super().get(tenant, job)
