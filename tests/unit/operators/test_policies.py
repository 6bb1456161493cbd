"""What is decided from what was found."""

from __future__ import annotations

from typing import Any

import pytest

from operators.api.base import Condition
from operators.api.video_service import Status
from operators.children.desired import desired
from operators.policies.bounds import corrections
from operators.policies.state import Finding, conditions
from operators.policies.world import World
from tests.unit.operators.services import OWNER, spec

NOW = "2026-01-01T00:00:00Z"


def serving(**changes: Any) -> World:
    """All is well, but for some things."""
    application = {"status": "RUNNING", "serveDeploymentStatuses": {"renderer": {"status": "HEALTHY"}}}
    active = {"rayClusterName": "lt-a", "applicationStatuses": {"longtake": application}}
    ray = {"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "activeServiceStatus": active}}
    door = {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "readyReplicas": 2}}
    for path, value in changes.items():
        where: Any = {"ray": ray, "door": door, "application": application}[path.partition("__")[0]]
        *inner, last = path.split("__")[1:]
        for name in inner:
            where = where[name]
        where[last] = value
    head = pod("lt-a-head", {"ray.io/cluster": "lt-a", "ray.io/node-type": "head"})
    return World(OWNER, 3, {("RayService", "lt"): ray, ("Deployment", "lt-frontdoor"): door}, (), (head,))


def pod(name: str, labels: dict[str, str], ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def told(world: World, trouble: Finding | None = None) -> dict[str, Condition]:
    return {condition.type: condition for condition in conditions(world, trouble, Status(), NOW)}


def test_a_service_whose_parts_all_work_is_ready() -> None:
    found = told(serving())
    assert {name: condition.status for name, condition in found.items()} == {
        "Ready": "True",
        "Progressing": "False",
        "Degraded": "False",
    }
    assert {condition.observed_generation for condition in found.values()} == {3}


@pytest.mark.parametrize(
    ("changes", "reason", "failing"),
    [
        ({"ray__metadata__generation": 3}, "StagesStarting", False),
        ({"application__status": "DEPLOYING"}, "StagesStarting", False),
        ({"application__status": "DEPLOY_FAILED"}, "StagesFailing", True),
        (
            {"application__serveDeploymentStatuses": {"renderer": {"status": "UNHEALTHY", "message": "a\nOSError: b"}}},
            "StagesFailing",
            True,
        ),
        ({"door__status__readyReplicas": 0}, "FrontDoorStarting", False),
        (
            {"ray__status__conditions": [{"type": "Ready", "status": "False", "reason": "ValidationFailed"}]},
            "RayServiceInvalid",
            True,
        ),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], reason: str, failing: bool) -> None:
    found = told(serving(**changes))
    assert (found["Ready"].status, found["Ready"].reason) == ("False", reason)
    assert (found["Degraded"].status == "True", found["Progressing"].status == "True") == (failing, not failing)


def test_while_a_new_cluster_starts_the_old_one_serves() -> None:
    """KubeRay tells nothing of the old one's application then."""
    pending = {"rayClusterName": "lt-b"}
    world = serving(
        ray__status__pendingServiceStatus=pending, ray__status__activeServiceStatus={"rayClusterName": "lt-a"}
    )
    found = told(world)
    assert (found["Ready"].status, found["Progressing"].reason) == ("True", "NewClusterStarts")
    assert found["Progressing"].status == "True"


def test_a_head_that_is_gone_counts_though_ray_says_running() -> None:
    world = serving()
    headless = World(world.owner, world.generation, world.children, (), ())
    assert told(headless)["Ready"].reason == "HeadAway"


def test_a_stages_own_error_is_what_is_told() -> None:
    broken = {"renderer": {"status": "UNHEALTHY", "message": "Traceback\n  x\nStoreUnfit: no such bucket"}}
    found = told(serving(application__serveDeploymentStatuses=broken))
    assert found["Degraded"].message == "renderer: StoreUnfit: no such bucket"


def test_the_moment_of_a_condition_stays_while_its_status_does() -> None:
    before = Status(conditions=conditions(serving(), None, Status(), NOW))
    later = "2026-01-02T00:00:00Z"
    same = conditions(serving(), None, before, later)
    changed = conditions(serving(application__status="DEPLOYING"), None, before, later)
    assert {condition.last_transition_time for condition in same} == {NOW}
    assert {condition.type for condition in changed if condition.last_transition_time == later} == {
        "Ready",
        "Progressing",
    }


def test_bounds_are_corrected_and_the_autoscalers_number_is_kept_within_them() -> None:
    ray = desired(OWNER, spec(denoisers={"min": 1, "max": 3}), "")[0]
    group = {"groupName": "denoise", "minReplicas": 0, "maxReplicas": 9, "replicas": 5}

    patch = corrections(ray, {"spec": {"workerGroupSpecs": [{"groupName": "other"}, group]}})

    assert patch == [
        {"op": "test", "path": "/spec/workerGroupSpecs/1/groupName", "value": "denoise"},
        {"op": "add", "path": "/spec/workerGroupSpecs/1/minReplicas", "value": 1},
        {"op": "add", "path": "/spec/workerGroupSpecs/1/maxReplicas", "value": 3},
        {"op": "add", "path": "/spec/workerGroupSpecs/1/replicas", "value": 3},
    ]
    settled = {"groupName": "denoise", "minReplicas": 1, "maxReplicas": 3, "replicas": 2}
    assert corrections(ray, {"spec": {"workerGroupSpecs": [settled]}}) == []
