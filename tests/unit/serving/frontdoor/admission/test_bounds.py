"""Which jobs are taken, and when a refused client is asked to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import FailedPrecondition, PermissionDenied, ResourceExhausted
from serving.frontdoor.admission.bounds import (
    Limits,
    Occupancy,
    admit,
    check_deadline,
    check_priority,
    in_words,
    served_after,
)
from serving.jobs.history import Prediction

NOW = 1_700_000_000_000


def _full(**changes: float) -> Occupancy:
    fields: dict[str, float] = {"active": 0, "all_active": 0, "tenant_job_s": 3.0, "all_job_s": 2.0}
    return Occupancy(**{**fields, **changes})  # type: ignore[arg-type]


def _limits(**changes: int) -> Limits:
    return Limits(tenant="studio", **{"max_active_jobs": 10, "max_all_jobs": 20, **changes})


def test_a_queue_with_a_place_left_takes_a_job() -> None:
    admit(_limits(), _full(active=9, all_active=19))


@pytest.mark.parametrize(("active", "places"), [(10, 1), (13, 4)])
def test_a_full_queue_says_when_a_place_is_free(active: int, places: int) -> None:
    with pytest.raises(ResourceExhausted, match=r"admission\.max_active_jobs") as refused:
        admit(_limits(), _full(active=active, all_active=active))
    assert refused.value.retry_after_s == places * 3.0
    assert refused.value.reason == "QUEUE_FULL"


def test_a_queue_that_is_full_for_all_says_so() -> None:
    with pytest.raises(ResourceExhausted, match=r"admission\.max_all_jobs") as refused:
        admit(_limits(), _full(active=1, all_active=20))
    assert refused.value.retry_after_s == 2.0


def test_nobody_is_asked_to_come_back_before_the_queue_is_looked_at_again() -> None:
    with pytest.raises(ResourceExhausted, match=r"in 4\.5 s") as refused:
        admit(_limits(), _full(active=10, seen_again_s=4.5))
    assert refused.value.retry_after_s == 4.5


def test_a_priority_that_the_tenant_may_not_have_is_refused_and_names_the_setting() -> None:
    check_priority(_limits(most_urgent=2), 2, "priority")
    check_priority(_limits(most_urgent=0), 0, "priority")
    with pytest.raises(PermissionDenied, match=r"admission\.tenants\.studio\.most_urgent"):
        check_priority(_limits(most_urgent=2), 1, "priority")


def _prediction(*, wait_s: float, work_s: float) -> Prediction:
    start = NOW + round(1000 * wait_s)
    return Prediction(start_ms=start, end_ms=start + round(1000 * work_s), seconds={})


@pytest.mark.parametrize("deadline_s", [None, 30, 31])
def test_what_can_be_in_time_is_taken(deadline_s: int | None) -> None:
    deadline = None if deadline_s is None else NOW + 1000 * deadline_s
    check_deadline(deadline, _prediction(wait_s=20, work_s=10), 10, NOW, "deadline")


def test_work_that_takes_longer_than_there_is_time_never_will() -> None:
    with pytest.raises(FailedPrecondition, match=r"deadline: the work alone takes about 10 s, and there are 9\.0 s"):
        check_deadline(NOW + 9000, _prediction(wait_s=0, work_s=10), 10, NOW, "deadline")


def test_a_queue_that_is_too_long_says_when_to_come_back() -> None:
    with pytest.raises(ResourceExhausted, match=r"15 s too late") as refused:
        check_deadline(NOW + 15_000, _prediction(wait_s=20, work_s=10), 10, NOW, "deadline")
    assert refused.value.retry_after_s == 15


def test_a_client_that_comes_back_when_it_was_told_is_taken() -> None:
    """The queue has drained by then, and it leaves as much time as before."""
    with pytest.raises(ResourceExhausted) as refused:
        check_deadline(NOW + 15_000, _prediction(wait_s=20, work_s=10), 10, NOW, "deadline")
    waited = refused.value.retry_after_s
    assert waited is not None
    later = NOW + round(1000 * waited)
    check_deadline(later + 15_000, _prediction(wait_s=20, work_s=10), 10, later, "deadline")


def test_other_tenants_take_their_shares_and_never_more_than_they_have() -> None:
    assert served_after(10, [], servers=2) == 5
    assert served_after(10, [(4, 1.0), (1000, 1.0)], servers=1) == 24
    assert served_after(10, [(1000, 0.5)], servers=1) == 15


shares = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.01, 100)), max_size=5)


@given(st.floats(0, 1e6), st.floats(0, 1e6), shares, st.integers(1, 8))
def test_more_work_never_ends_sooner(own: float, more: float, others: list[tuple[float, float]], servers: int) -> None:
    assert served_after(own, others, servers) <= served_after(own + more, others, servers)
    assert served_after(own, others, servers) >= own / servers


@pytest.mark.parametrize(
    ("seconds", "says"), [(0.31, "0.4 s"), (9.0, "9.0 s"), (11.2, "12 s"), (150, "3 min"), (9000, "2.5 h")]
)
def test_times_are_told_in_the_unit_that_people_use(seconds: float, says: str) -> None:
    assert in_words(seconds) == says
