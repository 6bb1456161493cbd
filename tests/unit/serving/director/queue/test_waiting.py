"""The line of waiting jobs, against a plain list of them."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from engines import models
from serving.director.queue import lines as lines_module
from serving.director.queue import waiting as waiting_module
from serving.director.queue.tickets import UNREAD, Waiting
from serving.director.queue.waiting import WaitingJobs
from serving.jobs.active import Active
from serving.jobs.record import JobRecord
from serving.plan import plan
from serving.requests import VideoRequest

_TENANTS = st.sampled_from(["a", "b"])
_JOBS = st.sampled_from([f"vid_{number}" for number in range(9)])


class Line(RuleBasedStateMachine):
    """What the line says at any time is what a search through all jobs says."""

    def __init__(self) -> None:
        super().__init__()
        self.line = WaitingJobs()
        self.plain: dict[tuple[str, str], Waiting] = {}
        self.pauses: dict[tuple[str, str], float] = {}
        self.now = 0.0
        self.most = 0
        self.unlisted = set[tuple[str, str]]()

    @rule(tenant=_TENANTS, job=_JOBS, priority=st.integers(0, 3), deadline=st.none() | st.integers(1, 60_000))
    def found(self, tenant: str, job: str, priority: int, deadline: int | None) -> None:
        if (tenant, job) in self.plain:
            return
        self.line.found(Active(tenant, job, priority, deadline), 7)
        self.plain[tenant, job] = Waiting(tenant, job, priority, deadline, 7)

    @rule(tenant=_TENANTS, job=_JOBS)
    def taken(self, tenant: str, job: str) -> None:
        found, expected = self.line.take((tenant, job)), self.plain.pop((tenant, job), None)
        self.pauses.pop((tenant, job), None)
        assert found == expected
        self.unlisted.discard((tenant, job))

    @rule()
    def a_listing_begins(self) -> None:
        self.line.listing_begins()
        self.unlisted = set(self.plain)

    @rule(tenant=_TENANTS, job=_JOBS)
    def listed(self, tenant: str, job: str) -> None:
        assert self.line.listed((tenant, job)) == ((tenant, job) in self.plain)
        self.unlisted.discard((tenant, job))

    @rule(tenant=_TENANTS, job=_JOBS, pause=st.floats(0.1, 5))
    def paused(self, tenant: str, job: str, pause: float) -> None:
        waiting = self.plain.get((tenant, job))
        if waiting is not None:
            self.line.again(waiting, self.now + pause)
            self.pauses[tenant, job] = self.now + pause
            self.unlisted.discard((tenant, job))

    @rule(seconds=st.floats(0.1, 9))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        now_ms = round(self.now * 1000)
        late = {job.key for job in self.line.overdue(now_ms, 99)}
        expected = {key for key, job in self.plain.items() if job.deadline_ms and job.deadline_ms <= now_ms}
        assert late == expected
        for key in late:
            self.line.take(key)
            del self.plain[key]
            self.pauses.pop(key, None)
            self.unlisted.discard(key)

    @invariant()
    def those_without_a_pause_stand_in_line(self) -> None:
        over = {key for key, pause in self.pauses.items() if pause <= self.now}
        self.unlisted -= over
        self.pauses = {key: pause for key, pause in self.pauses.items() if key not in over}
        self.line.resume(self.now)
        free = {key: job for key, job in self.plain.items() if key not in self.pauses}
        for lines, dated in ((self.line.line(UNREAD).dated, True), (self.line.line(UNREAD).undated, False)):
            expected = sorted(_order(job) for job in free.values() if (job.deadline_ms is not None) == dated)
            merged = list(lines.merged(lambda _: True, each=99, heads=99))
            assert [_order(job) for job in merged] == expected
            assert all(free[job.key] == job for job in merged)
            assert len(set(_keys(merged))) == len(merged)
            for tenant in ("a", "b"):
                own = [job for job in merged if job.tenant == tenant]
                assert list(lines.of(tenant)) == own
                assert list(lines.merged(tenant.__eq__, each=99, heads=99)) == own
                firsts = {job.priority: job.key for job in reversed(own)}
                assert sorted(_keys(lines.first_of(tenant))) == sorted(firsts.values())
                assert (tenant in lines) == bool(own)
        assert len(self.line) == len(self.plain)
        assert {job.key: job for job in self.line} == self.plain
        assert set(self.line.unlisted()) == self.unlisted

    @invariant()
    def no_heap_grows_with_what_has_passed_through(self) -> None:
        self.most = max(self.most, len(self.plain))
        for lines in (self.line.line(UNREAD).dated, self.line.line(UNREAD).undated):
            for line in itertools.chain.from_iterable(own.values() for own in lines._lines.values()):
                assert line.standing < len(line.heap) + 1 <= 2 * line.standing + 2
            assert len(lines._heads) == sum(map(len, lines._lines.values()))
        assert sum(map(len, self.line._deadlines.values())) <= 2 * self.most + 2


def test_what_is_learnt_of_a_job_leaves_it_its_pause() -> None:
    line, record = WaitingJobs(), _job("a", None)
    line.put(record, not_before=5.0)
    line.put(record)
    line.resume(4.0)
    assert "a" not in line.line("sprite-2")
    line.resume(5.0)
    assert [job.key for job in line.line("sprite-2").undated.of("a")] == [record.key]


def test_of_all_that_are_overdue_at_once_a_few_are_told_and_of_the_tenants_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting_module, "PASSED_AT_ONCE", 6)
    line = WaitingJobs()
    for number in range(20):
        line.found(Active("noisy", f"vid_{number}", 5, 100), 7)
    line.found(Active("quiet", "vid_quiet", 5, 101), 7)

    told = [line.overdue(200, 3)]
    assert len(told[0]) == 3
    assert (line.next_change(0.0, 200) or 0.0) < 0, "the rest is due now"
    line.take(("noisy", "vid_3"))  # seen to be overdue, and gone before it was told
    while any(told[-1]) or len(told) < 4:
        told.append(line.overdue(200, 3))

    assert [len(jobs) for jobs in told[1:]] == [3, 3, 3, 3, 3, 2, 0]
    keys = [job.key for jobs in told for job in jobs]
    assert sorted(keys) == sorted([job.key for job in line])
    assert keys.index(("quiet", "vid_quiet")) < 14, "it was the last of those that were seen, and not of those told"
    assert line.next_change(0.0, 200) is None


def test_a_tenant_that_comes_first_again_and_again_leaves_nothing_in_the_way_of_the_others() -> None:
    """However often the first of a line changes, the first of all lines are as many as the lines."""
    line = WaitingJobs()
    for number in range(100):
        line.found(Active(f"tenant-{number}", "vid", 5, 1_000_000 + number), 7)
    for number in range(90):
        line.found(Active("tenant-0", f"vid_{number}", 5, 1000 - number), 7)

    assert len(line.line(UNREAD).dated._heads) == 100


def test_among_equals_the_one_that_came_first_is_the_first() -> None:
    """Of whatever tenant; and one that comes again has lost its place."""
    line = WaitingJobs()
    for tenant, job in (("b", "vid_3"), ("a", "vid_2"), ("b", "vid_1")):
        line.found(Active(tenant, job, 5, None), 7)
    came = list(line.line(UNREAD).undated.merged(lambda _: True, each=9, heads=9))
    assert [job.job for job in came] == ["vid_3", "vid_2", "vid_1"]
    line.again(came[0], 0.0)
    assert [job.job for job in line.line(UNREAD).undated.merged(lambda _: True, each=9, heads=9)] == [
        "vid_2",
        "vid_1",
        "vid_3",
    ]


def _order(job: Waiting) -> tuple[int, int, int]:
    return job.priority, job.deadline_ms or 0, job.since_ms


def _keys(jobs: Iterable[Waiting]) -> list[tuple[str, str]]:
    return [job.key for job in jobs]


def test_it_is_what_a_search_through_all_jobs_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "SPARE", 1)
    monkeypatch.setattr(waiting_module, "SPARE", 1)
    run_state_machine_as_test(Line, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


_ids = itertools.count()


def _job(tenant: str, deadline_ms: int | None) -> JobRecord:
    request = VideoRequest(model="sprite-2", seconds=8, aspect_ratio="16:9", resolution="480p", steps=8)
    planned = plan(request, models.family("sprite-2").capabilities, model_digest="d" * 64, seed=next(_ids))
    name = f"vid_{next(_ids):026d}"
    return JobRecord(
        id=name, tenant=tenant, request=request, plan=planned, created_ms=1_700_000_000_000, deadline_ms=deadline_ms
    )


def _holds_at_most(most: float, fill: Callable[[], object]) -> bool:
    """Whether the made thing does: once in three times, for whatever else lives in the process allocates, too."""
    return any(_bytes_once(fill) <= most for _ in range(3))


def _bytes_once(fill: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        kept = fill()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        del kept
        return held
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("dated", "most"), [(False, 210), (True, 220)])
@pytest.mark.parametrize("woken", [False, True])
def test_a_job_that_waits_takes_a_few_hundred_bytes_however_it_was_found(woken: bool, dated: bool, most: int) -> None:
    count = 5000

    def fill() -> WaitingJobs:
        line = WaitingJobs()
        for number in range(count):
            due = 1_800_000_000_000 + number if dated else None
            record = _job(f"tenant-{number % 20}", due)
            if woken:
                line.put(JobRecord.decode(record.encode()))
            else:
                line.found(Active(f"tenant-{number % 20}", record.id, 5, due), 1_700_000_000_000 + number)
        return line

    assert _holds_at_most(most * count, fill)


def test_what_has_passed_through_takes_nothing() -> None:
    """Jobs with deadlines far off come and go while one lasts; their tenants, too."""

    def fill() -> WaitingJobs:
        line = WaitingJobs()
        line.found(Active("lasts", "vid", 5, 2_000_000_000_000), 0)
        for number in range(5000):
            tenant, job = f"tenant-{number // 10}", f"vid_{number:026d}"
            line.found(Active(tenant, job, number % 10, 1_900_000_000_000 + number), number)
            line.take((tenant, job))
            line.changed()
        return line

    assert _holds_at_most(20_000, fill)
