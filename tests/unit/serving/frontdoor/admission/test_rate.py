"""The bucket of tokens: what may come at once, what per minute, and what a refused client is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ResourceExhausted
from serving.frontdoor.admission.rate import FORGET_ABOVE, RateLimit


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _taken(limit: RateLimit, tenant: str, per_minute: float) -> bool:
    try:
        limit.take(tenant, per_minute)
    except ResourceExhausted:
        return False
    return True


def test_a_minutes_worth_may_come_at_once_and_the_next_one_when_it_was_told() -> None:
    clock = _Clock()
    limit = RateLimit(clock)
    assert [_taken(limit, "a", 6) for _ in range(7)] == [True] * 6 + [False]
    with pytest.raises(ResourceExhausted, match=r"6 videos a minute.*in 10 s") as refused:
        limit.take("a", 6)
    assert refused.value.retry_after_s == pytest.approx(10)
    assert _taken(limit, "b", 6)

    clock.now += 9.9
    assert not _taken(limit, "a", 6)
    clock.now += 0.1
    assert _taken(limit, "a", 6)
    assert not _taken(limit, "a", 6)


def test_less_than_one_a_minute_is_a_rate_too() -> None:
    clock = _Clock()
    limit = RateLimit(clock)
    assert _taken(limit, "a", 0.5)
    assert not _taken(limit, "a", 0.5)
    clock.now += 120
    assert _taken(limit, "a", 0.5)


def test_no_bound_takes_all() -> None:
    limit = RateLimit(_Clock())
    for _ in range(1000):
        limit.take("a", None)


@given(st.lists(st.floats(0, 30), max_size=200), st.floats(0.5, 60))
def test_no_minute_sees_more_than_two_buckets(pauses: list[float], per_minute: float) -> None:
    clock = _Clock()
    limit = RateLimit(clock)
    taken = []
    for pause in pauses:
        clock.now += pause
        if _taken(limit, "a", per_minute):
            taken.append(clock.now)
    for began in taken:
        assert sum(began <= at < began + 60 for at in taken) <= max(1, per_minute) + per_minute + 1


def test_tenants_that_went_quiet_are_forgotten() -> None:
    clock = _Clock()
    limit = RateLimit(clock)
    for number in range(FORGET_ABOVE):
        limit.take(str(number), 1)
    clock.now += 61
    limit.take("new", 1)
    limit.take("newer", 1)
    assert len(limit._full_at) == 2
