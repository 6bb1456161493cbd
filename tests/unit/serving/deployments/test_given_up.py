"""When the application is deployed anew: for a deployment that Serve has given up, and for nothing else."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview

from serving.deployments.given_up import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOOK_EVERY_S, GivenUp

FAILED = DeploymentStatus.DEPLOY_FAILED


def _application(status: DeploymentStatus = FAILED, *states: str) -> ApplicationStatusOverview:
    """One with a Renderer whose replicas are in these states."""
    trigger = DeploymentStatusTrigger.REPLICA_STARTUP_FAILED
    well = DeploymentStatusOverview(DeploymentStatus.HEALTHY, trigger, {ReplicaState.RUNNING: 1}, "")
    renderer = DeploymentStatusOverview(status, trigger, Counter(map(ReplicaState, states)), "")
    overall = ApplicationStatus.RUNNING if status is DeploymentStatus.HEALTHY else ApplicationStatus.UNHEALTHY
    return ApplicationStatusOverview(overall, "", 0.0, {"denoiser": well, "renderer": renderer})


def _looks(
    application: ApplicationStatusOverview, seconds: float, given_up: GivenUp, start: float = 0.0
) -> list[float]:
    """When it was due, of all looks for so long."""
    times = [start + LOOK_EVERY_S * look for look in range(int(seconds / LOOK_EVERY_S))]
    return [now for now in times if given_up.due(application, now) == ["renderer"]]


def test_a_deployment_without_a_replica_on_its_way_is_given_up() -> None:
    assert _looks(_application(), 2 * LOOK_EVERY_S, GivenUp()) == [LOOK_EVERY_S]
    assert _looks(_application(FAILED, "STOPPING"), 2 * LOOK_EVERY_S, GivenUp()) == [LOOK_EVERY_S]
    assert _looks(_application(DeploymentStatus.UNHEALTHY), 2 * LOOK_EVERY_S, GivenUp()) == [LOOK_EVERY_S]


@pytest.mark.parametrize("state", ["RUNNING", "STARTING", "UPDATING", "RECOVERING"])
def test_one_that_has_a_replica_or_gets_one_is_left_alone(state: str) -> None:
    assert _looks(_application(FAILED, state), 600, GivenUp()) == []


def test_one_that_is_scaled_to_none_is_left_alone() -> None:
    assert _looks(_application(DeploymentStatus.HEALTHY), 600, GivenUp()) == []


def test_between_two_replicas_nothing_is_done() -> None:
    given_up = GivenUp()

    assert given_up.due(_application(), 0) == []
    assert given_up.due(_application(FAILED, "STARTING"), 5) == []
    assert given_up.due(_application(), 10) == []


def test_it_is_tried_less_and_less_often_until_it_is_well_again() -> None:
    given_up = GivenUp()

    tries = _looks(_application(), 4000, given_up)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert FIRST_PAUSE_S <= pauses[0] < 2 * FIRST_PAUSE_S
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S, abs=LOOK_EVERY_S)

    given_up.due(_application(DeploymentStatus.HEALTHY, "RUNNING"), 5000)
    soon = _looks(_application(), 100, given_up, start=5400)
    assert soon[1] - soon[0] < 2 * FIRST_PAUSE_S
