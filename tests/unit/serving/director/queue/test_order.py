"""The order of work."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.director.queue.order import OVERDRAFT_LAGS, TURN_EVERY_MS, TURN_MS, Ranked, Work, arrange, due_ms, to_start
from serving.director.queue.shares import Shares

NOW = TURN_EVERY_MS * 1000 + TURN_MS
"""Not in the turn of the hopeless."""


def _work(job: str, remaining: float = 1.0, due: float | None = None, *, tenant: str = "a", **fields: int) -> Work:
    """A job that is due so many seconds from now."""
    deadline = None if due is None else NOW + round(1000 * due)
    return Work(tenant, job, fields.pop("priority", 5), deadline, fields.pop("created", NOW), remaining)


def _arranged(*work: Work, now: int = NOW, shares: Shares | None = None, servers: int = 1) -> list[Ranked]:
    shares = shares or Shares()
    shares.present({job.tenant for job in work})
    return arrange(work, now_ms=now, shares=shares, servers=servers)


def _names(ranked: list[Ranked]) -> list[str]:
    return [placed.work.job for placed in ranked]


def test_the_job_that_is_due_first_goes_first() -> None:
    assert _names(_arranged(_work("late", due=9), _work("soon", due=3), _work("between", due=6))) == [
        "soon",
        "between",
        "late",
    ]


def test_priority_goes_before_deadlines() -> None:
    assert _names(_arranged(_work("due", due=3), _work("urgent", due=90, priority=0))) == ["urgent", "due"]


def test_when_not_all_can_be_in_time_the_longest_one_is_left_out_and_told() -> None:
    ranked = _arranged(_work("long", 5, due=6), _work("one", 2, due=7), _work("two", 2, due=8))

    assert _names(ranked) == ["one", "two", "long"]
    assert [placed.hopeless for placed in ranked] == [False, False, True]
    assert [placed.end_ms - NOW for placed in ranked] == [2000, 4000, 9000]


def test_each_place_says_why() -> None:
    running = replace(_work("running", due=3), running=True)

    ranked = _arranged(_work("lost", 5, due=1), _work("second", due=9), running, _work("first", due=6))

    assert [(placed.work.job, placed.why) for placed in ranked] == [
        ("running", "running"),
        ("first", "next"),
        ("second", "waits its turn"),
        ("lost", "cannot be in time"),
    ]


def test_who_waits_for_those_that_had_less_is_told_so_while_it_runs_too() -> None:
    shares = Shares(lag_s=1.0)
    shares.present(["ahead", "behind"])
    shares.charge("ahead", 1.5)
    running = replace(_work("x", due=60, tenant="ahead"), running=True)

    ranked = _arranged(running, _work("y", due=60, tenant="ahead"), _work("z", due=60, tenant="behind"), shares=shares)

    assert {placed.work.job: placed.why for placed in ranked} == {
        "z": "next",
        "x": "over its share",
        "y": "over its share",
    }


def test_what_is_late_on_its_own_makes_nobody_else_late() -> None:
    assert _names(_arranged(_work("lost", 5, due=1), _work("fine", 2, due=7))) == ["fine", "lost"]


def test_two_servers_can_be_in_time_with_what_one_cannot() -> None:
    jobs = [_work("one", 3, due=5), _work("two", 3, due=5)]

    assert [placed.hopeless for placed in _arranged(*jobs)] == [False, True]
    assert [placed.hopeless for placed in _arranged(*jobs, servers=2)] == [False, False]


def test_a_tenant_that_is_ahead_waits_while_another_has_work() -> None:
    shares = Shares(lag_s=1.0)
    shares.present(["ahead", "behind"])
    shares.charge("ahead", 1.5)

    ranked = _arranged(_work("x", due=3, tenant="ahead"), _work("y", due=60, tenant="behind"), shares=shares)

    assert _names(ranked) == ["y", "x"]


def test_within_the_lag_deadlines_decide() -> None:
    shares = Shares(lag_s=1.0)
    shares.present(["ahead", "behind"])
    shares.charge("ahead", 0.9)

    ranked = _arranged(_work("x", due=3, tenant="ahead"), _work("y", due=60, tenant="behind"), shares=shares)

    assert _names(ranked) == ["x", "y"]


def test_a_tenant_that_is_ahead_does_not_yield_where_that_would_make_its_job_late() -> None:
    shares = Shares(lag_s=1.0)
    shares.present(["ahead", "behind"])
    shares.charge("ahead", 1.5)
    jobs = _work("tight", due=2, tenant="ahead"), _work("loose", due=9, tenant="ahead")

    ranked = _arranged(*jobs, _work("y", 2, due=60, tenant="behind"), shares=shares)

    assert _names(ranked) == ["tight", "y", "loose"]


def test_far_ahead_it_yields_in_any_case() -> None:
    shares = Shares(lag_s=1.0)
    shares.present(["ahead", "behind"])
    shares.charge("ahead", 5.0)

    ranked = _arranged(_work("x", due=2, tenant="ahead"), _work("y", 2, due=60, tenant="behind"), shares=shares)

    assert _names(ranked) == ["y", "x"]


def test_a_flood_of_short_jobs_does_not_push_a_neighbours_long_one_out() -> None:
    flood = [_work(f"short-{number}", 1, due=20, tenant="flood") for number in range(30)]
    long = _work("long", 9, due=20, tenant="quiet")

    ranked = {placed.work.job: placed for placed in _arranged(*flood, long)}

    assert not ranked["long"].hopeless
    assert sum(not placed.hopeless for placed in ranked.values()) == 1 + 11, "and the rest of the time is used"


def test_an_urgent_job_is_first_though_its_tenant_is_somewhat_ahead() -> None:
    shares = Shares(lag_s=1.0)
    shares.present(["ahead", "behind"])
    shares.charge("ahead", 3.0)

    ranked = _arranged(_work("x", tenant="ahead", priority=0), _work("y", tenant="behind"), shares=shares)

    assert _names(ranked) == ["x", "y"]


def test_marking_everything_urgent_beats_the_others_only_up_to_a_bound() -> None:
    shares = Shares(lag_s=1.0)
    shares.present(["ahead", "behind"])
    shares.charge("ahead", 5.0)

    ranked = _arranged(_work("x", tenant="ahead", priority=0), _work("y", tenant="behind"), shares=shares)

    assert _names(ranked) == ["y", "x"]


def test_of_two_equals_the_one_that_runs_goes_on() -> None:
    assert _names(_arranged(_work("a", due=9), replace(_work("b", due=9), running=True))) == ["b", "a"]


def test_a_job_without_a_deadline_is_due_after_a_multiple_of_its_work_and_again_when_that_has_passed() -> None:
    fresh = _work("fresh", 2.0)
    old = _work("old", 2.0, created=NOW - 60_000)

    assert due_ms(fresh, NOW) == NOW + 4_100
    assert due_ms(old, NOW) == NOW - 60_000 + 16 * 4_100


def test_the_overdue_have_a_turn_of_their_own() -> None:
    jobs = [_work("short", 1, due=3), _work("overdue", 1, due=-1), _work("expires", 9, due=5)]

    assert _names(_arranged(*jobs))[0] == "short"
    assert _names(arrange(jobs, now_ms=NOW - 1, shares=Shares()))[0] == "overdue"


def test_an_urgent_job_goes_before_that_turn() -> None:
    jobs = [_work("urgent", priority=0), _work("overdue", 1, due=-1)]

    assert _names(arrange(jobs, now_ms=NOW - 1, shares=Shares())) == ["urgent", "overdue"]


def test_only_the_first_few_are_given_when_no_more_are_asked_for() -> None:
    jobs = [_work(str(number), due=100 + number) for number in range(50)]

    assert _names(arrange(jobs, now_ms=NOW, shares=Shares(), limit=3)) == ["0", "1", "2"]


# ── whom to start ───────────────────────────────────────────────────────────────────────────────────────────────────


def _to_start(*work: Work, slots: int) -> list[str]:
    return _names(to_start(_arranged(*work), slots=slots))


def test_those_among_the_first_that_do_not_run_are_started() -> None:
    jobs = [_work(str(number), due=100 + number) for number in range(6)]
    jobs[1] = replace(jobs[1], running=True)

    assert _to_start(*jobs, slots=4) == ["0", "2", "3"]


def test_jobs_that_were_overtaken_run_on_up_to_a_bound_that_urgent_ones_ignore() -> None:
    overtaken = [replace(_work(f"overtaken-{number}", due=900), running=True) for number in range(8)]

    assert _to_start(*overtaken[:7], _work("new", due=5), slots=2) == ["new"]
    assert _to_start(*overtaken, _work("new", due=5), slots=2) == []
    assert _to_start(*overtaken, _work("new", due=5, priority=0), slots=2) == ["new"]


def test_one_tenants_overtaken_jobs_keep_no_other_out() -> None:
    overtaken = [replace(_work(f"overtaken-{number}", due=900), running=True) for number in range(8)]

    assert _to_start(*overtaken, _work("new", due=5, tenant="b"), slots=2) == ["new"]


# ── what holds for all ──────────────────────────────────────────────────────────────────────────────────────────────

_seconds = st.integers(1, 80).map(lambda eighths: eighths / 8)
_jobs = st.lists(
    st.builds(
        _work,
        st.just(""),
        _seconds,
        st.none() | _seconds,
        tenant=st.sampled_from("abc"),
        priority=st.sampled_from([0, 5, 9]),
        created=st.integers(NOW - 100_000, NOW),
    ),
    max_size=24,
).map(lambda jobs: [replace(job, job=str(number)) for number, job in enumerate(jobs)])


@given(_jobs, st.randoms(use_true_random=False), st.integers(1, 3), st.floats(0, 9))
def test_the_order_does_not_depend_on_how_the_jobs_were_listed(
    jobs: list[Work], random: Random, servers: int, ahead: float
) -> None:
    shares = Shares()
    shares.present("abc")
    shares.charge("a", ahead)
    shuffled = list(jobs)
    random.shuffle(shuffled)

    assert _arranged(*jobs, shares=shares, servers=servers) == _arranged(*shuffled, shares=shares, servers=servers)


@given(_jobs, st.integers(1, 3))
def test_every_job_has_a_place_and_no_server_idles_while_one_waits(jobs: list[Work], servers: int) -> None:
    ranked = _arranged(*jobs, servers=servers)

    assert Counter(_names(ranked)) == Counter(job.job for job in jobs)
    assert [placed.rank for placed in ranked] == sorted(placed.rank for placed in ranked)
    for place, placed in enumerate(ranked):
        ahead = ranked[:place]
        busy = sum(other.start_ms <= placed.start_ms < other.end_ms for other in ahead)
        before = [min(other.end_ms, placed.start_ms) - other.start_ms for other in ahead]
        assert busy < servers
        assert sum(before) >= servers * (placed.start_ms - NOW) - len(jobs), "all servers worked until it started"


@given(st.lists(st.tuples(_seconds, _seconds), max_size=9))
def test_the_fewest_possible_jobs_of_one_tenant_are_left_out(jobs: list[tuple[float, float]]) -> None:
    ranked = _arranged(*(_work(str(number), work, due) for number, (work, due) in enumerate(jobs)))
    in_time = [placed for placed in ranked if not placed.hopeless]

    assert all(placed.work.deadline_ms and placed.end_ms <= placed.work.deadline_ms for placed in in_time)
    assert len(in_time) == _most(jobs)


def _most(jobs: list[tuple[float, float]]) -> int:
    """By trying all subsets, the largest first."""
    by_due = sorted(jobs, key=lambda job: job[1])
    for count in range(len(jobs), 0, -1):
        for chosen in itertools.combinations(by_due, count):
            ends = itertools.accumulate(work for work, _ in chosen)
            if all(end <= due for end, (_, due) in zip(ends, chosen, strict=True)):
                return count
    return 0


# ── over time ───────────────────────────────────────────────────────────────────────────────────────────────────────

STEP_S = 0.25


def _served(
    steps: int, shares: Shares, jobs: list[Work], arrivals: Callable[[int, int], list[Work]] = lambda _step, _now: []
) -> Iterator[tuple[int, Work]]:
    """One server, step by step: what ran, and when its step ended. `arrivals` come before each step."""
    now, left = NOW, {job.job: job for job in jobs}
    for step in range(steps):
        left |= {job.job: job for job in arrivals(step, now)}
        shares.present({job.tenant for job in left.values()})
        (first,) = arrange(left.values(), now_ms=now, shares=shares, limit=1)
        job = first.work
        now += round(1000 * STEP_S)
        shares.charge(job.tenant, STEP_S)
        left[job.job] = replace(job, remaining_s=job.remaining_s - STEP_S)
        if left[job.job].remaining_s <= 0:
            del left[job.job]
        yield now, job


_listed = st.tuples(st.sampled_from("ab"), st.integers(1, 12), st.none() | st.integers(1, 400))


@settings(max_examples=40, deadline=None)
@given(st.lists(_listed, max_size=30), st.sampled_from([0.5, 1.0, 3.0]), st.booleans())
def test_tenants_that_always_have_work_get_shares_by_weight_within_a_bound(
    jobs: list[tuple[str, int, int | None]], weight: float, deadlines: bool
) -> None:
    shares = Shares({"b": weight}, lag_s=1.0)
    lasting = [_work(f"lasting-{tenant}", 1000.0, tenant=tenant) for tenant in "ab"]
    listed = [
        _work(str(number), size * STEP_S, due if deadlines else None, tenant=tenant)
        for number, (tenant, size, due) in enumerate(jobs)
    ]

    for _ in _served(240, shares, [*lasting, *listed]):
        lead = abs(shares.virtual("a") - shares.virtual("b"))
        lags = OVERDRAFT_LAGS if deadlines else 1.0
        assert lead <= lags * shares.lag_s + STEP_S / min(1.0, weight)


def test_nothing_starves_under_an_endless_flood_that_is_always_due_sooner() -> None:
    def flood(step: int, now: int) -> list[Work]:
        """Twice what the server can do, all of it due soon."""
        return [Work("a", f"{step}-{i}", 1, now + 600, now, STEP_S) for i in range(2)]

    ended = [now for now, job in _served(1600, Shares(), [_work("patient", 2.0)], flood) if job.job == "patient"]

    assert len(ended) == 8
    assert ended[-1] - NOW <= 3 * TURN_EVERY_MS


def test_a_tenant_that_waits_is_served_at_once_beside_one_that_floods() -> None:
    shares = Shares(lag_s=1.0)
    backlog = [_work(f"flood-{number}", 1.0, tenant="flood", created=NOW - 90_000) for number in range(300)]

    def quiet(step: int, now: int) -> list[Work]:
        return [Work("quiet", f"quiet-{step}", 5, None, now, 1.0)] if step and step % 40 == 0 else []

    ended: dict[str, int] = {}
    for now, job in _served(400, shares, backlog, quiet):
        ended[job.job] = now
    waits = [ended[name] - (NOW + int(name.split("-")[1]) * 250) for name in ended if name.startswith("quiet")]

    assert len(waits) == 9
    assert max(waits) <= 2000, "twice what it takes alone"
