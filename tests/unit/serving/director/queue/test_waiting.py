"""The line of waiting jobs, against a plain list of them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.director.queue import waiting as module
from serving.director.queue.waiting import Waiting, WaitingJobs
from serving.jobs.active import Active

_TENANTS = st.sampled_from(["a", "b"])
_JOBS = st.sampled_from([f"vid_{number}" for number in range(9)])


class Lines(RuleBasedStateMachine):
    """What the line says at any time is what a search through all jobs says."""

    def __init__(self) -> None:
        super().__init__()
        self.line = WaitingJobs()
        self.plain: dict[tuple[str, str], Waiting] = {}
        self.now = 0.0

    @rule(tenant=_TENANTS, job=_JOBS, priority=st.integers(0, 3), deadline=st.none() | st.integers(1, 60_000))
    def found(self, tenant: str, job: str, priority: int, deadline: int | None) -> None:
        if (tenant, job) in self.plain:
            return
        self.line.found(Active(tenant, job, priority, deadline), 7)
        self.plain[tenant, job] = Waiting(tenant, job, priority, deadline, 7)

    @rule(tenant=_TENANTS, job=_JOBS)
    def taken(self, tenant: str, job: str) -> None:
        found, expected = self.line.take((tenant, job)), self.plain.pop((tenant, job), None)
        assert (found is None) == (expected is None)

    @rule(tenant=_TENANTS, job=_JOBS, pause=st.floats(0.1, 5))
    def paused(self, tenant: str, job: str, pause: float) -> None:
        waiting = self.plain.get((tenant, job))
        if waiting is not None:
            self.line.again(waiting, self.now + pause)
            self.plain[tenant, job] = Waiting(
                tenant, job, waiting.priority, waiting.deadline_ms, 7, not_before=self.now + pause
            )

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

    @invariant()
    def the_first_of_each_tenant_are_ahead(self) -> None:
        expected = set()
        for tenant in ("a", "b"):
            free = [job for job in self.plain.values() if job.tenant == tenant and job.not_before <= self.now]
            expected |= {job.key for job in sorted(free, key=lambda job: job.order)[: module.AHEAD]}
        assert {job.key for job in self.line.ahead(self.now)} == expected
        assert len(self.line) == len(self.plain)


def test_it_is_what_a_search_through_all_jobs_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setattr(module, "AHEAD", 3)
    run_state_machine_as_test(Lines, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


def test_a_job_that_nobody_came_to_end_is_overdue_still() -> None:
    line = WaitingJobs()
    for job in ("vid_1", "vid_2"):
        line.found(Active("a", job, 5, 10), 0)
    first, second = line.overdue(20)
    assert line.overdue(20) == []

    line.take(first.key)
    line.back(first)
    line.due_still([second])

    assert {late.job for late in line.overdue(20)} == {"vid_1", "vid_2"}
