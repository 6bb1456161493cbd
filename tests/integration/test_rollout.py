"""A change of a service on a real API server: begun, taken back where it does not get ready, and begun anew."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from operators.api.base import API_VERSION
from operators.policies import rollout
from operators.reconcile import reconcile
from tests import kubernetes
from tests.integration.kube import Kube
from tests.integration.rollouts import (
    OLD,
    Clock,
    counted_as_taken_back,
    first_version,
    how,
    look_killed_at_each_call,
    models,
    offered,
    revisions,
    with_our_clock,
)
from tests.integration.test_engine_build import SPEC as BUILD

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]
WAN: dict[str, Any] = {"model": "wan-1.3b", "trustedKeys": {"configMap": "engine-keys"}}
UNFIT = {"keysSecret": "keys", "nodeSelector": {"pool": "no label!"}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return with_our_clock(monkeypatch)


@pytest.fixture
def cluster(server: kubernetes.ApiServer, clock: Clock) -> Kube:
    return first_version(server)


def test_a_model_that_gets_ready_takes_over_step_by_step(cluster: Kube) -> None:
    (first,) = revisions(cluster)
    cluster.serve(**WAN)
    told = cluster.look()
    assert (told["Ready"]["status"], told["Progressing"]["status"]) == ("True", "True")
    assert (models(cluster), offered(cluster)) == ({"sprite-2", "wan-1.3b"}, "sprite-2")

    cluster.serving()
    told = cluster.look()
    assert (how(cluster)["state"], offered(cluster)) == ("FrontDoorsRolling", "wan-1.3b")
    assert told["Progressing"]["status"] == "True"
    assert models(cluster) == {"sprite-2", "wan-1.3b"}

    cluster.serving()
    cluster.look()
    assert (how(cluster)["state"], models(cluster)) == ("Complete", {"wan-1.3b"})
    assert cluster.live(API_VERSION, "VideoService")["status"]["model"] == "wan-1.3b"
    (second,) = revisions(cluster)
    assert (how(cluster)["fromRevision"], how(cluster)["toRevision"]) == (first, second)

    cluster.serving()
    assert cluster.look()["Progressing"]["status"] == "False"
    at_rest = cluster.versions()
    cluster.look()
    assert cluster.versions() == at_rest


def test_a_version_that_does_not_get_ready_is_taken_back_and_a_mended_one_begins_anew(
    cluster: Kube, clock: Clock
) -> None:
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    first = how(cluster)["toRevision"]
    cluster.serve(**WAN)
    cluster.look()
    cluster.serving(**{"wan-1.3b": "DEPLOYING"})
    told = cluster.look()
    assert (told["Ready"]["status"], told["Progressing"]["status"]) == ("True", "True")

    clock.later = timedelta(seconds=1900)
    told = cluster.look()
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before
    assert offered(cluster) == "sprite-2"
    cluster.serving()
    told = cluster.look()
    assert told["Ready"]["status"] == "True"
    for type_, status in (("Progressing", "False"), ("Degraded", "True")):
        assert (told[type_]["status"], told[type_]["reason"]) == (status, "ProgressDeadlineExceeded")
    for part in ("not ready after 1800 s", "Ray's application longtake-wan-1.3b is DEPLOYING", "tries again"):
        assert part in told["Degraded"]["message"]
    assert (how(cluster)["state"], how(cluster)["fromRevision"]) == ("RolledBack", first)
    assert counted_as_taken_back(cluster) == 1
    assert cluster.live(API_VERSION, "VideoService")["status"]["model"] == "sprite-2"
    events = [event["reason"] for event in cluster.told()]
    assert events.count("ProgressDeadlineExceeded") == 1

    clock.later += timedelta(days=1)
    at_rest = cluster.versions()
    cluster.known.clear()  # as after a restart
    cluster.look()
    assert cluster.versions() == at_rest, "it is not tried again by itself"

    cluster.serve(**WAN, rollout={"progressDeadlineSeconds": 3600})
    cluster.look()
    assert how(cluster)["state"] == "StagesStarting"
    assert counted_as_taken_back(cluster) == 0
    cluster.serve(**OLD)
    told = cluster.look()
    assert (how(cluster)["state"], told["Degraded"]["status"]) == ("Complete", "False")


def test_an_image_that_is_not_found_is_named_and_taken_back(cluster: Kube, clock: Clock) -> None:
    cluster.serve(**OLD, image={"name": "longtake:oops"})
    cluster.look()
    ray = cluster.live("ray.io/v1", "RayService")
    cluster.tell(
        ray,
        observedGeneration=ray["metadata"]["generation"],
        activeServiceStatus={"rayClusterName": "lt-abcde"},
        pendingServiceStatus={"rayClusterName": "lt-fghij"},
    )
    waiting = {"reason": "ImagePullBackOff", "message": "longtake:oops: not found"}
    container = {"name": "ray-head", "image": "longtake:oops", "imageID": "", "ready": False, "restartCount": 0}
    broken = {"containerStatuses": [{**container, "state": {"waiting": waiting}}]}
    cluster.pod("lt-fghij-head", {"ray.io/cluster": "lt-fghij", "ray.io/node-type": "head"}, **broken)
    told = cluster.look()
    assert (told["Ready"]["status"], told["Degraded"]["status"]) == ("True", "True")

    clock.later = timedelta(seconds=1900)
    cluster.look()
    assert "pod lt-fghij-head: ray-head: ImagePullBackOff: longtake:oops: not found" in how(cluster)["message"]
    ray = cluster.live("ray.io/v1", "RayService")
    head = ray["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert head["template"]["spec"]["containers"][0]["image"] == "longtake:1"

    labels = {"ray.io/originated-from-cr-name": "lt"}
    for name in ("lt-abcde", "lt-klmno"):  # KubeRay builds another one of the old version
        made = cluster.object("ray.io/v1", "RayCluster", name, labels=labels)
        made["metadata"]["annotations"] = {"ray.io/hash-without-replicas-and-workers-to-delete": "old"}
        cluster.apply(made)
    served = ray["status"]["activeServiceStatus"]
    cluster.tell(ray, activeServiceStatus=served, pendingServiceStatus={"rayClusterName": "lt-klmno"})
    cluster.look()
    status = cluster.live("ray.io/v1", "RayService")["status"]
    assert (status["activeServiceStatus"], status["pendingServiceStatus"]) == (served, {})


def test_nothing_is_changed_before_the_engines_are_built(cluster: Kube, clock: Clock) -> None:
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    cluster.apply(cluster.object(API_VERSION, "EngineBuild", "wan", spec=BUILD))
    cluster.serve(**WAN)
    told = cluster.look()
    assert (told["Ready"]["status"], told["Progressing"]["reason"]) == ("True", "EnginesBuilding")
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before
    clock.later = timedelta(hours=9)
    cluster.look()
    assert how(cluster)["state"] == "Held"

    built = {
        "type": "Ready",
        "status": "True",
        "reason": "Built",
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-28T00:00:00Z",
    }
    cluster.tell(cluster.live(API_VERSION, "EngineBuild", "wan"), conditions=[built])
    cluster.look()
    assert (how(cluster)["state"], models(cluster)) == ("StagesStarting", {"sprite-2", "wan-1.3b"})


def test_a_first_version_that_ray_gave_up_is_tried_again(server: kubernetes.ApiServer, clock: Clock) -> None:
    """As when its model comes into the store later."""
    cluster = Kube(server, f"r-{secrets.token_hex(4)}")
    cluster.serve()
    cluster.look()
    cluster.serving(**{"sprite-2": "DEPLOY_FAILED"})
    assert cluster.look()["Ready"]["reason"] == "StagesFailing"
    before = cluster.live("ray.io/v1", "RayService")["spec"]
    assert (again := reconcile(cluster, cluster.namespace, "lt", cluster.known)) is not None
    assert again < 60

    clock.later = timedelta(seconds=301)
    cluster.look()
    after = cluster.live("ray.io/v1", "RayService")["spec"]
    assert (before["rayClusterConfig"], before == after) == (after["rayClusterConfig"], False)
    cluster.serving()
    assert cluster.look()["Ready"]["status"] == "True"
    cluster.look()
    assert cluster.live("ray.io/v1", "RayService")["spec"] == after, "nothing is deployed once more"


def test_a_change_is_under_way_until_its_front_doors_have_followed(
    cluster: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though for a moment all looks settled: its stages are up, and have to be so for a while."""
    monkeypatch.setattr(rollout, "READY_S", 60.0)
    cluster.serve(**WAN)
    cluster.look()
    cluster.serving()
    told = cluster.look()
    assert (how(cluster)["state"], told["Progressing"]["status"]) == ("StagesStarting", "True")


def test_what_the_api_server_refuses_is_taken_back_with_its_words(cluster: Kube, clock: Clock) -> None:
    cluster.serve(**OLD, frontDoor=UNFIT)
    assert cluster.look()["Degraded"]["reason"] == "ApplyRefused"
    clock.later = timedelta(seconds=1900)
    cluster.look()
    assert (how(cluster)["state"], "the API server answered 4" in how(cluster)["message"]) == ("RolledBack", True)


def test_killed_at_any_call_of_a_change_it_ends_as_undisturbed(
    cluster: Kube, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.serve(**WAN)
    cluster.look()
    clock.later = timedelta(seconds=1900)
    assert look_killed_at_each_call(cluster, monkeypatch) > 15
    cluster.look()
    assert (how(cluster)["state"], models(cluster), len(revisions(cluster))) == ("RolledBack", {"sprite-2"}, 1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"analysis": {"videos": 101}}, "spec.rollout.analysis.videos"),
        ({"strategy": "Recreate"}, "spec.rollout.strategy"),
        ({"progressDeadlineSeconds": 5}, "spec.rollout.progressDeadlineSeconds"),
    ],
)
def test_a_wrong_rollout_is_refused(cluster: Kube, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.serve(rollout=asked)
    assert said in str(refused.value.body)
