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
from serving.director.queue.lines import Waiting
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
        assert (found is None) == (expected is None)

    @rule(tenant=_TENANTS, job=_JOBS, pause=st.floats(0.1, 5))
    def paused(self, tenant: str, job: str, pause: float) -> None:
        waiting = self.plain.get((tenant, job))
        if waiting is not None:
            self.line.again(waiting, self.now + pause)
            self.pauses[tenant, job] = self.now + pause

    @rule(seconds=st.floats(0.1, 9))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        now_ms = round(self.now * 1000)
        late = {job.key for job in self.line.overdue(now_ms)}
        expected = {key for key, job in self.plain.items() if job.deadline_ms and job.deadline_ms <= now_ms}
        assert late == expected
        for key in late:
            self.line.take(key)
            del self.plain[key]
            self.pauses.pop(key, None)

    @invariant()
    def those_without_a_pause_stand_in_line(self) -> None:
        self.line.resume(self.now)
        free = sorted(job for key, job in self.plain.items() if self.pauses.get(key, 0.0) <= self.now)
        for lines, dated in ((self.line.dated, True), (self.line.undated, False)):
            expected = [job for job in free if (job.deadline_ms is not None) == dated]
            for tenant in ("a", "b"):
                assert _keys(lines.of(tenant)) == _keys(job for job in expected if job.tenant == tenant)
                firsts = {job.priority: job.key for job in reversed(expected) if job.tenant == tenant}
                assert sorted(_keys(lines.first_of(tenant))) == sorted(firsts.values())
                assert (tenant in lines) == bool(firsts)
            assert _keys(lines.merged(lambda _: True, each=99, heads=99)) == _keys(expected)
            assert _keys(lines.merged(lambda tenant: tenant == "b", each=99, heads=99)) == _keys(lines.of("b"))
        assert len(self.line) == len(self.plain)
        assert set(_keys(self.line)) == set(self.plain)

    @invariant()
    def no_heap_grows_with_what_has_passed_through(self) -> None:
        self.most = max(self.most, len(self.plain))
        for lines in (self.line.dated, self.line.undated):
            for line in itertools.chain.from_iterable(own.values() for own in lines._lines.values()):
                assert line.standing < len(line.heap) + 1 <= 2 * line.standing + 2
            assert len(lines._heads) <= 2 * self.most + 2
        assert sum(map(len, self.line._deadlines.values())) <= 2 * self.most + 2


def test_what_is_learnt_of_a_job_leaves_it_its_pause() -> None:
    line, record = WaitingJobs(), _job("a", None)
    line.put(record, not_before=5.0)
    line.put(record)
    line.resume(4.0)
    assert not line.in_line("a")
    line.resume(5.0)
    assert [job.key for job in line.undated.of("a")] == [record.key]


def _keys(jobs: Iterable[Waiting]) -> list[tuple[str, str]]:
    return [job.key for job in jobs]


def test_it_is_what_a_search_through_all_jobs_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "SPARE", 1)
    monkeypatch.setattr(waiting_module, "SPARE", 1)
    run_state_machine_as_test(Line, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


_ids = itertools.count()


def _job(tenant: str, deadline_ms: int | None) -> JobRecord:
    request = VideoRequest(model="sprite-1", seconds=8, aspect_ratio="16:9", resolution="480p", steps=8)
    planned = plan(request, models.family("sprite-1").capabilities, model_digest="d" * 64, seed=next(_ids))
    name = f"vid_{next(_ids):026d}"
    return JobRecord(
        id=name, tenant=tenant, request=request, plan=planned, created_ms=1_700_000_000_000, deadline_ms=deadline_ms
    )


def _bytes(fill: Callable[[], object]) -> int:
    """What the made thing holds: the least of three, for whatever else lives in the process allocates, too."""
    return min(_bytes_once(fill) for _ in range(3))


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


@pytest.mark.parametrize(("dated", "most"), [(False, 240), (True, 310)])
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

    assert _bytes(fill) / count <= most


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

    assert _bytes(fill) <= 20_000
