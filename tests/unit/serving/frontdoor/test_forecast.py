"""Which deadlines are refused, and when to come back."""

from __future__ import annotations

import pytest

from serving.errors import FailedPrecondition, ResourceExhausted
from serving.frontdoor.forecast import check_deadline
from serving.jobs.history import Prediction

NOW = 1_700_000_000_000


def _prediction(*, wait_s: float, work_s: float) -> Prediction:
    start = NOW + round(1000 * wait_s)
    return Prediction(start_ms=start, end_ms=start + round(1000 * work_s), seconds={})


@pytest.mark.parametrize("deadline_s", [None, 30, 31])
def test_what_can_be_in_time_is_taken(deadline_s: int | None) -> None:
    deadline = None if deadline_s is None else NOW + 1000 * deadline_s
    check_deadline(deadline, _prediction(wait_s=20, work_s=10), NOW)


def test_work_that_takes_longer_than_there_is_time_never_will() -> None:
    with pytest.raises(FailedPrecondition, match=r"the work alone takes about 10\.0 s"):
        check_deadline(NOW + 9000, _prediction(wait_s=0, work_s=10), NOW)


def test_a_queue_that_is_too_long_says_when_to_come_back() -> None:
    with pytest.raises(ResourceExhausted, match=r"15\.0 s too late") as refused:
        check_deadline(NOW + 15_000, _prediction(wait_s=20, work_s=10), NOW)
    assert refused.value.retry_after_s == 15
