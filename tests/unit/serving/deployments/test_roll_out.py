"""A roll-out that failed is tried again, less and less often, until it succeeds."""

from __future__ import annotations

import queue
from types import SimpleNamespace

import pytest

from serving.deployments import host
from serving.deployments.given_up import GivenUp
from serving.deployments.roll_out import FIRST_PAUSE_S, LONGEST_PAUSE_S, RollOut


def _tries(roll_out: RollOut, start: float, count: int) -> list[float]:
    """The pauses before so many tries that all fail."""
    now, pauses = start, []
    for _ in range(count):
        pause = roll_out.failed(now)
        assert not roll_out.due(now + pause - 0.1)
        now += pause
        assert roll_out.due(now)
        pauses.append(pause)
    return pauses


def test_it_is_tried_less_and_less_often() -> None:
    pauses = _tries(RollOut(), 100.0, 12)

    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S


def test_none_is_due_before_one_failed_and_after_one_succeeded() -> None:
    roll_out = RollOut()
    assert not roll_out.due(1e9)
    roll_out.failed(0.0)
    roll_out.succeeded()

    assert not roll_out.due(1e9)
    assert roll_out.failed(0.0) == FIRST_PAUSE_S


def test_one_that_is_asked_for_begins_the_pauses_anew() -> None:
    roll_out = RollOut()
    _tries(roll_out, 0.0, 5)
    roll_out.asked()

    assert roll_out.failed(0.0) == FIRST_PAUSE_S


class _Hangups(queue.SimpleQueue[int]):
    """Each wait in vain takes its time on this clock."""

    now = 1000.0

    def get(self, block: bool = True, timeout: float | None = None) -> int:
        try:
            return super().get(block=False)
        except queue.Empty:
            self.now += timeout or 0.0
            raise


@pytest.mark.parametrize("asked", [False, True])
def test_the_host_deploys_anew_by_itself_after_a_failure_and_at_once_when_asked(
    monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    hangups, roll_out = _Hangups(), RollOut()
    monkeypatch.setattr(host, "time", SimpleNamespace(monotonic=lambda: hangups.now))
    monkeypatch.setattr(host, "_application", lambda: None)
    roll_out.failed(hangups.now)
    if asked:
        hangups.put(1)

    why = host.reason_to_deploy(hangups, GivenUp(), roll_out)

    waited = hangups.now - 1000.0
    assert (why, waited) == (("asked for", 0.0) if asked else ("the last roll-out failed", FIRST_PAUSE_S))
