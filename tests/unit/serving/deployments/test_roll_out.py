"""A roll-out that failed is tried again, less and less often, until it succeeds."""

from __future__ import annotations

import queue
from types import SimpleNamespace

import pytest

from serving.deployments import applications as module
from serving.deployments import host
from serving.deployments.applications import Applications
from serving.deployments.roll_out import FIRST_PAUSE_S, LONGEST_PAUSE_S, RollOut
from serving.settings import ModelSettings, Settings


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


@pytest.fixture
def applications(monkeypatch: pytest.MonkeyPatch) -> Applications:
    """None of which Serve tells anything."""
    monkeypatch.setattr(module, "look", dict)
    return Applications(Settings(store="/tmp/store"), grpc_port=1, http_port=2)


def _generations(applications: Applications) -> dict[str, int]:
    return {name: applications._generations.get(name, 0) for name in applications.names}


@pytest.mark.parametrize("asked", [False, True])
def test_the_host_deploys_anew_by_itself_after_a_failure_and_at_once_when_asked(
    monkeypatch: pytest.MonkeyPatch, applications: Applications, asked: bool
) -> None:
    hangups, roll_out = _Hangups(), RollOut()
    monkeypatch.setattr(host, "time", SimpleNamespace(monotonic=lambda: hangups.now))
    roll_out.failed(hangups.now)
    if asked:
        hangups.put(1)

    why = host.reason_to_deploy(hangups, applications, roll_out, lambda now: now)

    waited = hangups.now - 1000.0
    want = ("all replicas are to be replaced", 0.0) if asked else ("the last roll-out failed", FIRST_PAUSE_S)
    assert (why, waited) == want
    assert _generations(applications) == {"longtake": 1, "longtake-sprite-2": 1}


def test_a_model_that_came_is_deployed_and_nothing_else_is_replaced(applications: Applications) -> None:
    both = applications.settings.model_copy(update={"models": {"wan": ModelSettings()}})
    hangups = _Hangups()
    for _ in range(2):
        hangups.put(1)

    assert host.reason_to_deploy(hangups, applications, RollOut(), lambda _: both) == "the settings have changed"
    assert applications.names == ["longtake", "longtake-sprite-2", "longtake-wan"]
    assert set(_generations(applications).values()) == {0}
    # Asked again without a change: that is how all are replaced.
    assert host.reason_to_deploy(hangups, applications, RollOut(), lambda _: both) == "all replicas are to be replaced"
    assert set(_generations(applications).values()) == {1}
