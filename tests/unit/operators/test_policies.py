"""What is decided from what was found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operators.api.base import Condition
from operators.api.video_service import Status
from operators.children.desired import desired
from operators.policies.bounds import corrections
from operators.policies.state import Finding, conditions, lacking
from operators.policies.world import World
from tests.unit.operators.services import OWNER, spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def serving(**changes: Any) -> World:
    """All is well, but for some things."""
    application = {"status": "RUNNING", "serveDeploymentStatuses": {"renderer": {"status": "HEALTHY"}}}
    active = {"rayClusterName": "lt-a", "applicationStatuses": {"longtake": application}}
    ray = {
        "kind": "RayService",
        "metadata": {"name": "lt", "generation": 2},
        "spec": {"serveConfigV2": "applications: [{name: longtake}]"},
        "status": {"observedGeneration": 2, "activeServiceStatus": active},
    }
    pods = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    door = {
        "kind": "Deployment",
        "metadata": {"name": "lt-frontdoor", "generation": 1},
        "status": {"observedGeneration": 1, **pods},
    }
    for path, value in changes.items():
        where: Any = {"ray": ray, "door": door, "application": application}[path.partition("__")[0]]
        *inner, last = path.split("__")[1:]
        for name in inner:
            where = where[name]
        where[last] = value
    head = pod("lt-a-head", {"ray.io/cluster": "lt-a", "ray.io/node-type": "head", "ray.io/serve": "true"})
    return World(OWNER, 3, {("RayService", "lt"): ray, ("Deployment", "lt-frontdoor"): door}, (), (head,), NOW)


def pod(name: str, labels: dict[str, str], ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def told(world: World, trouble: Finding | None = None, **change: Finding) -> dict[str, Condition]:
    return {condition.type: condition for condition in conditions(world, trouble, Status(), **change)}


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
        ({"ray__status__activeServiceStatus": {}}, "StagesStarting", False),
        ({"application__status": "DEPLOYING"}, "StagesStarting", False),
        ({"application__status": "DEPLOY_FAILED"}, "StagesFailing", True),
        (
            {"application__serveDeploymentStatuses": {"renderer": {"status": "UNHEALTHY", "message": "a\nOSError: b"}}},
            "StagesFailing",
            True,
        ),
        ({"door__status__readyReplicas": 0}, "FrontDoorStarting", False),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], reason: str, failing: bool) -> None:
    found = told(serving(**changes))
    assert (found["Ready"].status, found["Ready"].reason) == ("False", reason)
    assert (found["Degraded"].status == "True", found["Progressing"].status == "True") == (failing, not failing)


@pytest.mark.parametrize(
    ("told_of_it", "said"), [({"longtake-wan": {"status": "DEPLOYING"}}, "DEPLOYING"), ({}, "not there yet")]
)
def test_a_model_whose_stages_are_not_up_is_named(told_of_it: dict[str, Any], said: str) -> None:
    world = serving(ray__spec__serveConfigV2="applications: [{name: longtake}, {name: longtake-wan}]")
    world.ray["status"]["activeServiceStatus"]["applicationStatuses"].update(told_of_it)
    found = told(world)
    assert (found["Ready"].status, found["Ready"].reason) == ("False", "StagesStarting")
    assert f"longtake-wan is {said}" in found["Ready"].message


def test_a_model_that_goes_holds_nothing_up() -> None:
    world = serving()
    world.ray["status"]["activeServiceStatus"]["applicationStatuses"]["longtake-wan"] = {"status": "DELETING"}
    assert told(world)["Ready"].status == "True"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ray__metadata__generation": 3}, "ChangeMade"),
        ({"door__metadata__generation": 2}, "ChangeMade"),
        ({"door__status__updatedReplicas": 1}, "FrontDoorsRoll"),
    ],
)
def test_a_change_that_is_being_made_is_progress_of_what_serves(changes: dict[str, Any], reason: str) -> None:
    found = told(serving(**changes))
    assert (found["Ready"].status, found["Progressing"].status) == ("True", "True")
    assert found["Progressing"].reason == reason


def test_while_a_new_cluster_starts_the_old_one_serves() -> None:
    """KubeRay tells nothing of the old one's application then."""
    pending = {"rayClusterName": "lt-b"}
    world = serving(
        ray__status__pendingServiceStatus=pending, ray__status__activeServiceStatus={"rayClusterName": "lt-a"}
    )
    found = told(world)
    assert (found["Ready"].status, found["Progressing"].reason) == ("True", "NewClusterStarts")
    assert found["Progressing"].status == "True"


def beside(status: str, message: str = "") -> World:
    """A model that is to take over starts beside the one that serves."""
    world = serving(ray__spec__serveConfigV2="applications: [{name: longtake}, {name: longtake-wan}]")
    fails = {"denoiser": {"status": "UNHEALTHY", "message": message}} if message else {}
    new = {"status": status, "serveDeploymentStatuses": fails}
    world.ray["status"]["activeServiceStatus"]["applicationStatuses"]["longtake-wan"] = new
    return replace(world, fresh=frozenset({"longtake-wan"}))


def test_what_served_does_so_until_kuberay_says_anything_else() -> None:
    """It says nothing at first when a cluster that was to take over is not needed any more."""
    silent = serving(ray__status__activeServiceStatus={"rayClusterName": "lt-a"})
    assert told(silent)["Ready"].status == "False", "it has never served"
    before = Status(conditions=conditions(serving(), None, Status()))

    def ready(world: World) -> str:
        return conditions(world, None, before)[0].status

    assert ready(silent) == "True"
    assert ready(replace(silent, pods=())) == "False", "its head is gone"
    assert ready(serving(application__status="DEPLOYING")) == "False"


def test_stages_that_a_change_brings_keep_nobody_from_being_served() -> None:
    found = told(beside("DEPLOYING"))
    assert (found["Ready"].status, found["Progressing"].status) == ("True", "True")
    assert found["Progressing"].message == "Ray's application longtake-wan is DEPLOYING"
    lacks = lacking(beside("DEPLOYING"), doors=False)
    assert lacks is not None
    assert "longtake-wan is DEPLOYING" in lacks.message
    assert lacking(beside("RUNNING"), doors=True) is None


def test_a_change_of_front_doors_alone_lacks_nothing_that_stages_do() -> None:
    world = serving(application__status="DEPLOY_FAILED")
    assert lacking(world, doors=True) is not None
    assert lacking(world, doors=True, stages=False) is None
    rolling = lacking(serving(door__status__updatedReplicas=1), doors=True, stages=False)
    assert rolling is not None
    assert rolling.reason == "FrontDoorsRoll"


def test_stages_of_a_change_that_fail_are_told_of_beside_what_serves() -> None:
    said = "denoiser of longtake-wan: EngineNotBuilt: none"
    pending = {"rayClusterName": "lt-b", "applicationStatuses": {"longtake-wan": {"serveDeploymentStatuses": {}}}}
    world = serving(
        ray__status__pendingServiceStatus=pending, ray__status__activeServiceStatus={"rayClusterName": "lt-a"}
    )
    fails = {"status": "DEPLOY_FAILED", "message": "EngineNotBuilt: none"}
    pending["applicationStatuses"]["longtake-wan"]["serveDeploymentStatuses"]["denoiser"] = fails  # type: ignore[index]
    for change in (beside("DEPLOYING", "x\nEngineNotBuilt: none"), world):
        found = told(change)
        assert (found["Ready"].status, found["Degraded"].status) == ("True", "True")
        assert found["Degraded"].message == said
        lacks = lacking(change, doors=False)
        assert lacks is not None
        assert lacks.message == said


@pytest.mark.parametrize("status", ["DEPLOY_FAILED", "UNHEALTHY"])
def test_ray_gives_up_what_it_says_has_failed_to_deploy(status: str) -> None:
    assert beside(status).given_up == ({"longtake-wan"} if status == "DEPLOY_FAILED" else set())


def test_a_change_that_was_taken_back_is_told_of_while_all_serves() -> None:
    found = told(serving(), late=Finding("ProgressDeadlineExceeded", "taken back", failing=True))
    assert {name: (condition.status, condition.reason) for name, condition in found.items()} == {
        "Ready": ("True", "Serving"),
        "Progressing": ("False", "ProgressDeadlineExceeded"),
        "Degraded": ("True", "ProgressDeadlineExceeded"),
    }


def test_a_change_that_is_held_says_for_what() -> None:
    building = Finding("EnginesBuilding", "EngineBuild wan builds wan")
    found = told(serving(), held=building)
    assert (found["Ready"].status, found["Progressing"].status) == ("True", "True")
    assert found["Progressing"].reason == "EnginesBuilding"

    nothing = told(World(OWNER, 1), held=building)
    assert (nothing["Ready"].status, nothing["Ready"].reason) == ("False", "EnginesBuilding")
    assert nothing["Degraded"].status == "False"

    failed = told(serving(), held=Finding("EngineBuildFailed", "no", failing=True))
    assert (failed["Progressing"].status, failed["Degraded"].reason) == ("False", "EngineBuildFailed")


def test_a_head_that_is_gone_counts_though_ray_says_running() -> None:
    world = serving()
    assert told(replace(world, pods=()))["Ready"].reason == "HeadAway"


def test_a_head_that_has_just_come_serves_nothing_though_kuberay_says_what_it_heard_of_the_last_one() -> None:
    world = serving()
    new = pod("lt-a-head-2", {"ray.io/cluster": "lt-a", "ray.io/node-type": "head", "ray.io/serve": "false"})
    found = told(replace(world, pods=(new,)))
    assert (found["Ready"].status, found["Ready"].reason) == ("False", "StagesStarting")
    assert found["Degraded"].status == "False"


def test_what_serves_is_ready_though_a_change_cannot_be_made() -> None:
    refused = {"type": "Ready", "status": "False", "reason": "ValidationFailed", "message": "bad"}
    for found in (
        told(serving(ray__status__conditions=[refused])),
        told(serving(), Finding("SettingsInvalid", "no", failing=True)),
    ):
        assert (found["Ready"].status, found["Degraded"].status) == ("True", "True")
    assert told(serving(ray__status__conditions=[refused]))["Degraded"].reason == "RayServiceInvalid"


@pytest.mark.parametrize(
    ("minutes", "ending", "degraded"), [(1, False, "False"), (10, False, "True"), (10, True, "False")]
)
def test_a_node_may_take_its_time_to_come(minutes: int, ending: bool, degraded: str) -> None:
    waits = pod("lt-a-denoise-2", {})
    waits["metadata"]["creationTimestamp"] = (NOW - timedelta(minutes=minutes)).isoformat()
    if ending:
        waits["metadata"]["deletionTimestamp"] = NOW.isoformat()
    waits["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    world = serving()
    found = told(replace(world, pods=(*world.pods, waits)))
    assert (found["Ready"].status, found["Degraded"].status) == ("True", degraded)


def test_a_secret_that_is_not_there_is_told_of_after_a_while() -> None:
    waits = pod("lt-frontdoor-1", {}, "False")
    waits["metadata"]["creationTimestamp"] = (NOW - timedelta(minutes=10)).isoformat()
    waits["status"]["containerStatuses"] = [{"name": "d", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    found = told(replace(serving(door__status__readyReplicas=0), pods=(waits,)))
    assert found["Degraded"].status == "True"
    assert "is there each Secret" in found["Ready"].message


def test_a_stages_own_error_is_what_is_told() -> None:
    broken = {"renderer": {"status": "UNHEALTHY", "message": "Traceback\n  x\nStoreUnfit: no such bucket"}}
    found = told(serving(application__serveDeploymentStatuses=broken))
    assert found["Degraded"].message == "renderer of longtake: StoreUnfit: no such bucket"


def test_what_a_stage_met_is_told_while_ray_tries_it_again() -> None:
    met = {"renderer": {"status": "UPDATING", "message": "Retrying 2 more time(s). Error:\n  x\nEngineMissing: none"}}
    starts = {"application__status": "DEPLOYING", "application__serveDeploymentStatuses": met}
    found = told(serving(**starts))["Progressing"]
    assert (found.status, found.reason) == ("True", "StagesStarting")
    assert found.message == "Ray's application longtake is DEPLOYING (renderer: EngineMissing: none)"


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (
            {"exitCode": 2, "message": "a log line\nlongtake front door: no such model\n"},
            ": longtake front door: no such",
        ),
        ({"exitCode": 137, "reason": "OOMKilled", "message": "x"}, "raise resources.limits.memory; it was at: x"),
        ({"exitCode": 1}, "CrashLoopBackOff: back-off 40s"),
        (None, "CrashLoopBackOff: back-off 40s"),
    ],
)
def test_a_container_that_ends_at_each_start_is_told_by_its_own_words(ended: dict[str, Any] | None, said: str) -> None:
    broken = pod("lt-frontdoor-1", {}, "False")
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s"}
    last = {"lastState": {"terminated": ended}} if ended else {}
    broken["status"]["containerStatuses"] = [{"name": "frontdoor", "state": {"waiting": waiting}, **last}]
    found = told(replace(serving(), pods=(broken, *serving().pods)))["Degraded"]
    assert (found.status, found.reason) == ("True", "PodsFailing")
    assert said in found.message


def test_the_moment_of_a_condition_stays_while_its_status_does() -> None:
    before = Status(conditions=conditions(serving(), None, Status()))
    later = NOW + timedelta(days=1)
    same = conditions(replace(serving(), now=later), None, before)
    changed = conditions(replace(serving(application__status="DEPLOYING"), now=later), None, before)
    assert {condition.last_transition_time for condition in same} == {"2026-01-01T00:00:00Z"}
    assert {condition.type for condition in changed if condition.last_transition_time == "2026-01-02T00:00:00Z"} == {
        "Ready",
        "Progressing",
    }


def test_bounds_are_corrected_and_the_autoscalers_number_is_kept_within_them() -> None:
    ray = desired(OWNER, spec(denoisers={"min": 1, "max": 3}), "")[0]
    group = {"groupName": "denoise", "minReplicas": 0, "maxReplicas": 9, "replicas": 5}

    autoscaled = {"enableInTreeAutoscaling": True, "workerGroupSpecs": [{"groupName": "other"}, group]}
    patch = corrections(ray, {"spec": autoscaled})

    assert patch == [
        {"op": "test", "path": "/spec/workerGroupSpecs/1/groupName", "value": "denoise"},
        {"op": "add", "path": "/spec/workerGroupSpecs/1/minReplicas", "value": 1},
        {"op": "add", "path": "/spec/workerGroupSpecs/1/maxReplicas", "value": 3},
        {"op": "add", "path": "/spec/workerGroupSpecs/1/replicas", "value": 3},
    ]
    settled = {"groupName": "denoise", "minReplicas": 1, "maxReplicas": 3, "replicas": 2}
    assert corrections(ray, {"spec": {"workerGroupSpecs": [settled]}}) == []


@pytest.mark.parametrize(("oldest", "goes"), [(False, "c"), (True, "a")])
def test_of_pods_that_are_too_many_it_is_said_which_go(oldest: bool, goes: str) -> None:
    """Of a version that is taken back the newest, of one that was replaced the oldest, and first who is not ready."""
    ray = desired(OWNER, spec(denoisers={"min": 2, "max": 2}), "")[0]
    named = {"ray.io/cluster": "lt-a", "ray.io/group": "denoise"}
    pods = [pod(name, named) for name in "bca"]
    pods += [pod("starts", named, ready="False"), pod("ends", named), pod("light", {**named, "ray.io/group": "light"})]
    for age, one in enumerate(sorted(pods, key=lambda one: str(one["metadata"]["name"]))):
        one["metadata"]["creationTimestamp"] = f"2026-01-01T00:0{age}:00Z"
    pods[4]["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z"
    group = {"groupName": "denoise", "minReplicas": 4, "maxReplicas": 4, "replicas": 4}
    cluster = {"metadata": {"name": "lt-a"}, "spec": {"workerGroupSpecs": [group]}}

    *_, last = corrections(ray, cluster, pods, oldest=oldest)

    assert last["path"] == "/spec/workerGroupSpecs/0/scaleStrategy"
    assert last["value"] == {"workersToDelete": ["starts", goes]}
