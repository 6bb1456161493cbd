"""What holds for every order of work, and over time: shares, bounds, nobody starves."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.director.queue.order import OVERDRAFT_LAGS, TURN_EVERY_MS, Work, arrange, ranks
from serving.director.queue.shares import Shares
from tests.unit.serving.director.queue.works import NOW, arranged, names_of, present, work_of

# ── what holds for all ──────────────────────────────────────────────────────────────────────────────────────────────

_seconds = st.integers(1, 80).map(lambda eighths: eighths / 8)
_jobs = st.lists(
    st.builds(
        work_of,
        st.just(""),
        _seconds,
        st.none() | _seconds,
        tenant=st.sampled_from("abc"),
        priority=st.sampled_from([0, 5, 9]),
        created=st.integers(NOW - 100_000, NOW),
    ),
    max_size=24,
).map(lambda jobs: [job._replace(job=str(number)) for number, job in enumerate(jobs)])


@given(_jobs, st.randoms(use_true_random=False), st.integers(1, 3), st.floats(0, 9))
def test_the_order_does_not_depend_on_how_the_jobs_were_listed(
    jobs: list[Work], random: Random, servers: int, ahead: float
) -> None:
    shares = Shares()
    present(shares, "abc")
    shares.charge("a", ahead)
    shuffled = list(jobs)
    random.shuffle(shuffled)

    assert arranged(*jobs, shares=shares, servers=servers) == arranged(*shuffled, shares=shares, servers=servers)


@given(_jobs, st.integers(1, 3))
def test_every_job_has_a_place_and_the_rank_that_it_has_without_one(jobs: list[Work], servers: int) -> None:
    ranked = arranged(*jobs, servers=servers)
    shares = Shares()
    present(shares, {job.tenant for job in jobs})

    assert Counter(names_of(ranked)) == Counter(job.job for job in jobs)
    assert [placed.rank for placed in ranked] == sorted(placed.rank for placed in ranked)
    assert ranks(jobs, now_ms=NOW, shares=shares, servers=servers) == {
        (placed.work.tenant, placed.work.job): placed.rank for placed in ranked
    }


@given(st.lists(st.tuples(_seconds, _seconds), max_size=9))
def test_the_fewest_possible_jobs_of_one_tenant_are_left_out(jobs: list[tuple[float, float]]) -> None:
    ranked = arranged(*(work_of(str(number), work, due) for number, (work, due) in enumerate(jobs)))
    in_time = [placed for placed in ranked if not placed.hopeless]

    ends = itertools.accumulate(1000 * placed.work.remaining_s for placed in in_time)
    for placed, end in zip(in_time, ends, strict=True):
        assert placed.work.deadline_ms is not None
        assert NOW + round(end) <= placed.work.deadline_ms
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
        present(shares, {job.tenant for job in left.values()})
        first = arrange(left.values(), now_ms=now, shares=shares)[0]
        job = first.work
        now += round(1000 * STEP_S)
        shares.charge(job.tenant, STEP_S)
        left[job.job] = job._replace(remaining_s=job.remaining_s - STEP_S)
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
    lasting = [work_of(f"lasting-{tenant}", 1000.0, tenant=tenant) for tenant in "ab"]
    listed = [
        work_of(str(number), size * STEP_S, due if deadlines else None, tenant=tenant)
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

    ended = [now for now, job in _served(1600, Shares(), [work_of("patient", 2.0)], flood) if job.job == "patient"]

    assert len(ended) == 8
    assert ended[-1] - NOW <= 3 * TURN_EVERY_MS


def test_a_tenant_that_waits_is_served_at_once_beside_one_that_floods() -> None:
    shares = Shares(lag_s=1.0)
    backlog = [work_of(f"flood-{number}", 1.0, tenant="flood", created=NOW - 90_000) for number in range(300)]

    def quiet(step: int, now: int) -> list[Work]:
        return [Work("quiet", f"quiet-{step}", 5, None, now, 1.0)] if step and step % 40 == 0 else []

    ended: dict[str, int] = {}
    for now, job in _served(400, shares, backlog, quiet):
        ended[job.job] = now
    waits = [ended[name] - (NOW + int(name.split("-")[1]) * 250) for name in ended if name.startswith("quiet")]

    assert len(waits) == 9
    assert max(waits) <= 2000, "twice what it takes alone"
