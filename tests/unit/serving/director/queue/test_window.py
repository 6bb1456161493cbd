"""What is looked at when jobs are chosen: as much as the slots ask for, and all that matters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.director.queue import window as module
from serving.director.queue.order import Work, arrange, to_start
from serving.director.queue.shares import Shares
from serving.director.queue.tickets import UNREAD, Tickets, Waiting
from serving.director.queue.waiting import WaitingJobs
from serving.director.queue.window import window
from serving.jobs.active import Active
from tests.unit.serving.director.queue.works import NOW, present

WORK_S = 1.0
_numbers = itertools.count()


def add(line: WaitingJobs, tenant: str, *, due: float | None = None, priority: int = 5, since: float = 0.0) -> str:
    """A job that is due so many seconds from now, and was made so many seconds after NOW; its name."""
    name = f"vid_{next(_numbers):06d}"
    deadline = None if due is None else NOW + round(1000 * due)
    line.found(Active(tenant, name, priority, deadline), NOW + round(1000 * since))
    return name


def shares_of(line: WaitingJobs, leads: dict[str, float] | None = None) -> Shares:
    shares = Shares()
    present(shares, {job.tenant for job in line})
    for tenant, seconds in (leads or {}).items():
        shares.charge(tenant, seconds)
    return shares


def names(jobs: Iterable[Waiting]) -> set[str]:
    return {job.job for job in jobs}


def started(jobs: Iterable[Waiting], shares: Shares, slots: int) -> list[str]:
    works = [Work(job.tenant, job.job, job.priority, job.deadline_ms, job.since_ms, WORK_S) for job in jobs]
    return [place.work.job for place in to_start(arrange(works, now_ms=NOW, shares=shares, servers=1), slots=slots)]


_sound = st.lists(
    st.tuples(
        st.sampled_from([f"tenant-{number}" for number in range(12)]),
        st.none() | st.integers(1000, 2000),
        st.integers(0, 9),
        st.floats(0, 0.9),
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=60, deadline=None)
@given(_sound, st.integers(1, 6), st.dictionaries(st.integers(0, 11), st.floats(0, 1.9)))
def test_where_all_can_be_in_time_the_same_jobs_start_as_if_all_were_looked_at(
    jobs: list[tuple[str, int | None, int, float]], slots: int, leads: dict[int, float]
) -> None:
    """Work of a second each, deadlines after all of it, nobody beyond the lag; a window of a few places."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROOM", 2)
        line = WaitingJobs()
        for tenant, due, priority, since in jobs:
            add(line, tenant, due=due, priority=priority, since=since)
        shares = shares_of(line, {f"tenant-{number}": seconds for number, seconds in leads.items()})

        seen = window([line.line(UNREAD)], shares, slots)

        assert started(seen, shares, slots) == started(line, shares, slots)
        assert len(seen) <= _most(slots)


def _most(slots: int) -> int:
    room = module.ROOM + module.ROOM_PER_SLOT * slots
    return 2 * room + 2 * slots + 4 * room + 18 * slots


@pytest.mark.parametrize("tenants", [1, 10, 1000, 5000])
def test_what_is_looked_at_grows_with_the_slots_and_not_with_what_waits(
    tenants: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted: jobs that are looked at or handed out, and tenants whose shares are asked for."""
    line = WaitingJobs()
    for number in range(10_000):
        add(line, f"tenant-{number % tenants}", due=None if number % 2 else 1000.0 + number)
    shares, asked = shares_of(line), itertools.count()

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            next(asked)
            return real(*arguments)

        return call

    monkeypatch.setattr(Shares, "virtual", counted(Shares.virtual))
    for name in ("stands", "tenant", "read"):
        monkeypatch.setattr(Tickets, name, counted(getattr(Tickets, name)))

    for slots in (2, 20):
        before = next(asked)
        assert len(window([line.line(UNREAD)], shares, slots)) <= _most(slots)
        assert next(asked) - before <= 40 * (module.ROOM + module.ROOM_PER_SLOT * slots)


def test_a_thousand_slots_look_at_no_more_than_what_can_start_at_once_asks_for() -> None:
    line = WaitingJobs()
    for number in range(10_000):
        add(line, f"tenant-{number % 100}", due=None if number % 2 else 1000.0 + number)

    assert len(window([line.line(UNREAD)], shares_of(line), 1000)) <= _most(module.MOST_AT_ONCE)


@pytest.fixture
def crowd() -> WaitingJobs:
    """A thousand tenants, more than a window has places for, with jobs that are due before long."""
    line = WaitingJobs()
    for number in range(1000):
        add(line, f"tenant-{number:04d}", due=500.0 + number / 1000)
    return line


def _served(line: WaitingJobs, tenant: str, seconds: float) -> Shares:
    """It was served so much more than all others."""
    return shares_of(line, {tenant: seconds})


def test_an_urgent_job_of_a_tenant_that_was_served_more_is_looked_at(crowd: WaitingJobs) -> None:
    dated, undated = add(crowd, "busy", due=900.0, priority=0), add(crowd, "busy", priority=0)
    for lead in (1.0, 5.0):
        assert {dated, undated} <= names(window([crowd.line(UNREAD)], _served(crowd, "busy", lead), slots=4))


def test_a_near_deadline_of_a_tenant_that_was_served_more_is_looked_at(crowd: WaitingJobs) -> None:
    tight = add(crowd, "busy", due=3.0)
    for lead in (1.0, 5.0):
        shares = _served(crowd, "busy", lead)
        seen = window([crowd.line(UNREAD)], shares, slots=4)
        assert tight in names(seen)
        assert tight in started(seen, shares, 4)


def test_one_tenants_hopeless_jobs_hide_nobody_elses() -> None:
    line = WaitingJobs()
    for number in range(3000):
        add(line, "flood", due=WORK_S / 2 + number / 10_000)
    tenants = [f"tenant-{number}" for number in range(100)]
    sound = {add(line, tenant, due=60.0) for tenant in tenants}
    shares = shares_of(line, dict.fromkeys(tenants, 1.0))

    seen = window([line.line(UNREAD)], shares, slots=4)

    assert set(started(seen, shares, 4)) <= sound
    assert len(started(seen, shares, 4)) == 4


def test_many_tenants_hopeless_jobs_do_not_hide_those_of_the_least_served() -> None:
    line, flood = WaitingJobs(), [f"flood-{number}" for number in range(100)]
    for number in range(3000):
        add(line, flood[number % 100], due=WORK_S / 2 + number / 10_000)
    sound = {add(line, "quiet", due=60.0) for _ in range(4)}
    shares = shares_of(line, dict.fromkeys(flood, 1.0))

    seen = window([line.line(UNREAD)], shares, slots=4)

    assert set(started(seen, shares, 4)) == sound


def test_the_oldest_of_every_priority_of_the_least_served_is_looked_at_however_many_tenants_are_before_it() -> None:
    line, crowd = WaitingJobs(), [f"tenant-{number}" for number in range(100)]
    for number in range(3000):
        add(line, crowd[number % 100], since=-60.0)
    old = add(line, "quiet", priority=9, since=-3600.0)
    for _ in range(100):
        add(line, "quiet", since=-30.0)
    assert old in names(window([line.line(UNREAD)], shares_of(line, dict.fromkeys(crowd, 1.0)), slots=4))


def test_a_flood_of_a_tenants_own_better_jobs_does_not_hide_its_oldest_without_a_deadline() -> None:
    line = WaitingJobs()
    old = add(line, "a", priority=9, since=-3600.0)
    for number in range(3000):
        add(line, "a", priority=5, since=number / 1000)
        add(line, "a", priority=6, due=60.0)
    assert old in names(window([line.line(UNREAD)], shares_of(line), slots=1))


def test_every_tenant_of_a_crowd_is_served_before_any_is_served_thrice() -> None:
    """Those that start are charged for it; a hundred times as many tenants wait as there are slots."""
    line = WaitingJobs()
    for number in range(2000):
        add(line, f"tenant-{number % 200}", due=100_000.0 + number, since=number)
    shares = shares_of(line)
    served: dict[str, int] = {}
    while len(served) < 200:
        for name in started(window([line.line(UNREAD)], shares, 2), shares, 2):
            tenant = next(job.tenant for job in line if job.job == name)
            line.take((tenant, name))
            shares.charge(tenant, 2 * WORK_S)
            served[tenant] = served.get(tenant, 0) + 1
    assert max(served.values()) <= 3
