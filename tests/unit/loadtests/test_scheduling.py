"""The simulated world, and what the order of work is worth in it. No time is measured: the clock is simulated."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.benchmarks.scheduling import ORDERS, goodput, quiet_times, urgent_waits
from loadtests.scheduling import workload
from loadtests.scheduling.bound import most_in_time
from loadtests.scheduling.orders import SLOTS, Longtake, edf, fifo
from loadtests.scheduling.workload import Job, mean_work_s, poisson
from loadtests.scheduling.world import simulate
from serving.director.queue import schedule, window
from serving.director.queue.lines import ModelLine
from serving.director.queue.shares import Shares
from serving.director.queue.tickets import Waiting

SEEDS = range(3)


def _job(name: str, arrives: float, work: float, due: float | None = None, *, tenant: str = "a") -> Job:
    """A job of steps of a quarter of a second, or of one step if it is shorter."""
    steps = (0.25,) * int(work / 0.25) or (work,)
    return Job(name, tenant, arrives, steps, steps, due)


def test_the_chosen_load_is_what_arrives() -> None:
    jobs = poisson(random.Random(1), {"a": 1.0}, 20_000, load=1.3)

    assert sum(job.work_s for job in jobs) / jobs[-1].arrives_s == pytest.approx(1.3, rel=0.05)
    assert mean(job.work_s for job in jobs) == pytest.approx(mean_work_s(), rel=0.03)


def test_first_in_first_out_finishes_what_it_began() -> None:
    outcomes = simulate([_job("long", 0.0, 4.0, 9.0), _job("short", 0.1, 0.5, 1.0)], fifo())

    assert [done.done_s for done in outcomes] == [4.0, 4.5]
    assert [done.in_time for done in outcomes] == [True, False]


def test_earliest_deadline_first_preempts_at_a_step() -> None:
    outcomes = simulate([_job("long", 0.0, 4.0, 9.0), _job("short", 0.1, 0.5, 1.0)], edf())

    assert [done.done_s for done in outcomes] == [4.5, 0.75]


def test_what_is_overdue_is_dropped_where_the_order_says_so() -> None:
    jobs = [_job("lost", 0.0, 4.0, 1.0), _job("next", 0.1, 0.5, 2.0)]

    assert [done.done_s for done in simulate(jobs, fifo(expires=True))] == [None, 1.5]
    assert [done.done_s for done in simulate(jobs, fifo())] == [4.0, 4.5]


def test_admission_refuses_what_is_over_a_tenants_bound() -> None:
    jobs = [_job(str(number), 0.0, 0.5) for number in range(3)] + [_job("other", 0.0, 0.5, tenant="b")]

    assert [done.done_s is None for done in simulate(jobs, fifo(), most=2)] == [False, False, True, False]


# ── the bound ───────────────────────────────────────────────────────────────────────────────────────────────────────

_eighths = st.integers(1, 24).map(lambda eighths: eighths / 8)
_small = st.lists(st.tuples(_eighths, _eighths, _eighths), min_size=1, max_size=6).map(
    lambda rows: [
        Job(str(number), "a", arrives, (work,), (work,), arrives + allowed)
        for number, (arrives, work, allowed) in enumerate(rows)
    ]
)


@given(_small)
def test_no_choice_of_jobs_that_fits_is_larger_than_the_bound(jobs: list[Job]) -> None:
    best = max(len(chosen) for chosen in _choices(jobs) if _fits(chosen))

    assert most_in_time(jobs) >= best


@given(_small)
def test_when_all_jobs_fit_the_bound_is_all_of_them_and_it_never_counts_more(jobs: list[Job]) -> None:
    bound = most_in_time(jobs)

    assert bound <= len(jobs)
    assert bound == len(jobs) or not _fits(jobs)


def test_one_span_holds_no_more_than_its_length() -> None:
    assert most_in_time([_job(str(number), 1.0, 1.0, 3.5) for number in range(5)]) == 2


def _choices(jobs: Sequence[Job]) -> Iterator[tuple[Job, ...]]:
    for count in range(len(jobs) + 1):
        yield from itertools.combinations(jobs, count)


def _fits(jobs: Sequence[Job]) -> bool:
    """Whether one engine can be in time with all of them, preempting at any moment: no span holds too much work."""
    spans = itertools.product([job.arrives_s for job in jobs], [_due(job) for job in jobs])
    return all(
        sum(job.work_s for job in jobs if job.arrives_s >= start and _due(job) <= end) <= end - start
        for start, end in spans
        if end > start
    ) and all(job.work_s <= _due(job) - job.arrives_s for job in jobs)


def _due(job: Job) -> float:
    assert job.deadline_s is not None
    return job.deadline_s


# ── what the order is worth ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("load", [0.7, 1.0, 1.3])
def test_nearly_all_that_could_be_in_time_is(load: float) -> None:
    found = [goodput(load, 300, seed) for seed in SEEDS]

    assert mean(one["Longtake"] / one["bound"] for one in found) >= 0.9
    assert all(one["bound"] >= one[name] for one in found for name in ORDERS), "the bound is one for every order"


@pytest.mark.parametrize("tenants", [{"a": 1.0}, {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}])
def test_as_many_are_in_time_as_if_all_that_waits_were_looked_at(
    tenants: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At twice what the engine can do, loose deadlines, and so few places that most of the queue is out of sight."""
    monkeypatch.setattr(workload, "STRETCH", (3.0, 30.0))
    monkeypatch.setattr(window, "ROOM", 0)
    monkeypatch.setattr(window, "ROOM_PER_SLOT", 2)
    jobs = [poisson(random.Random(seed), tenants, 300, load=2.0) for seed in range(2)]
    longest = 0

    def all_of_it(lines: Sequence[ModelLine], _shares: Shares, _slots: int) -> list[Waiting]:
        nonlocal longest
        longest = max(longest, sum(line.count for line in lines))
        return list(itertools.chain.from_iterable(lines))

    windowed = [mean(done.in_time for done in simulate(some, Longtake())) for some in jobs]
    monkeypatch.setattr(schedule, "window", all_of_it)
    whole = [mean(done.in_time for done in simulate(some, Longtake())) for some in jobs]

    assert mean(windowed) >= mean(whole) - 0.01
    assert longest > 4 * window.ROOM_PER_SLOT * SLOTS


def test_at_full_load_twice_as_many_jobs_are_in_time_as_first_in_first_out() -> None:
    found = [goodput(1.0, 300, seed) for seed in SEEDS]

    assert mean(one["Longtake"] for one in found) >= 2 * mean(one["FIFO"] for one in found)


def test_an_urgent_job_waits_for_a_step() -> None:
    waits = [wait for seed in SEEDS for wait in urgent_waits(150, seed, Longtake)]

    assert len(waits) >= 15
    assert max(waits) <= 1.2
    assert mean(urgent_waits(150, 0, fifo)) > 100, "the engine was busy"


def test_a_quiet_tenant_waits_at_most_twice_as_long_as_alone() -> None:
    found = [quiet_times(6, seed, Longtake) for seed in SEEDS]

    assert mean(beside for _, beside in found) <= 2 * mean(alone for alone, _ in found)
    alone, beside = quiet_times(6, 0, fifo)
    assert beside > 5 * alone, "the neighbour is loud"
