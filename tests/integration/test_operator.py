"""The operator against a real API server: what it makes, tells and repairs, and that it rests."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from operators.children.names import SERVICE
from operators.metrics import CALLS
from operators.policies import leftovers
from operators.reconcile import reconcile
from tests import kubernetes
from tests.integration.kube import SPEC, Kube, operator, until

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]
GATEWAY = {
    "parents": [{"name": "public", "namespace": "gateways"}],
    "grpcHostname": "video.example",
    "httpHostname": "media.example",
}


@pytest.fixture
def cluster(server: kubernetes.ApiServer) -> Kube:
    return Kube(server, f"t-{secrets.token_hex(4)}")


def test_a_service_is_made_and_told_of_until_it_serves(cluster: Kube) -> None:
    cluster.serve()

    told = cluster.look()

    assert (told["Ready"]["status"], told["Ready"]["reason"]) == ("False", "StagesStarting")
    assert told["Progressing"]["status"] == "True"
    assert told["Ready"]["observedGeneration"] == 1
    ray = cluster.live("ray.io/v1", "RayService")
    assert ray["metadata"]["ownerReferences"][0]["kind"] == "VideoService"

    cluster.serving()
    told = cluster.look()
    assert (told["Ready"]["status"], told["Progressing"]["status"], told["Degraded"]["status"]) == (
        "True",
        "False",
        "False",
    )
    cluster.look()  # the cluster has a name now
    director = cluster.live("v1", "Service", "lt-director")
    assert director["spec"]["selector"] == {"ray.io/cluster": "lt-abcde", "ray.io/node-type": "head"}
    assert sorted(event["reason"] for event in cluster.told()) == ["Serving", "StagesStarting"]


def test_a_change_is_told_of_as_soon_as_it_was_acted_on(cluster: Kube) -> None:
    """Who waits for a change sees no generation that is acted on and looks settled before it is."""
    cluster.serve()
    cluster.look()
    cluster.serving()
    assert cluster.look()["Progressing"]["status"] == "False"

    cluster.serve(scaling={"idleSeconds": 7})
    told = cluster.look()

    assert (told["Ready"]["status"], told["Ready"]["observedGeneration"]) == ("True", 2)
    assert (told["Progressing"]["status"], told["Progressing"]["reason"]) == ("True", "ChangeMade")


def test_at_rest_nothing_is_written_and_after_a_restart_nothing_changes(cluster: Kube) -> None:
    cluster.serve()
    cluster.look()
    cluster.serving()
    for _ in range(2):
        cluster.look()
    at_rest = cluster.versions()
    written = _writes()

    listed = _lists("EngineBuild"), _lists("VideoModel")
    cluster.look()
    assert (cluster.versions(), _writes()) == (at_rest, written)
    assert (_lists("EngineBuild"), _lists("VideoModel")) == listed, "they are nothing to one that serves"

    cluster.known.clear()  # as after a restart
    cluster.look()
    assert cluster.versions() == at_rest


def test_what_others_change_or_remove_is_repaired(cluster: Kube) -> None:
    cluster.serve()
    cluster.look()
    wanted = cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"]

    changed = cluster.live("apps/v1", "Deployment", "lt-frontdoor")
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "other:1"}]
    cluster.patch(changed, patch)
    cluster.delete(cluster.live("v1", "Service"))
    cluster.look()

    assert cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"] == wanted
    assert cluster.live("v1", "Service")["spec"]["ports"][0]["port"] == 50051


def test_an_autoscaler_comes_and_goes_and_owns_the_replicas(cluster: Kube) -> None:
    cluster.serve(frontDoor={"keysSecret": "keys", "maxReplicas": 5})
    cluster.look()
    assert cluster.live("autoscaling/v2", "HorizontalPodAutoscaler", "lt-frontdoor")["spec"]["maxReplicas"] == 5
    door = cluster.live("apps/v1", "Deployment", "lt-frontdoor")
    cluster.patch(door, [{"op": "replace", "path": "/spec/replicas", "value": 4}])
    cluster.look()
    assert cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"]["replicas"] == 4

    cluster.serve()
    cluster.look()
    assert cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", cluster.namespace, "lt-frontdoor") is None
    assert cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"]["replicas"] == 2


def test_an_autoscaler_that_comes_finds_the_pods_that_there_are(cluster: Kube) -> None:
    cluster.serve(frontDoor={"keysSecret": "keys", "minReplicas": 6, "maxReplicas": 6})
    cluster.look()
    cluster.serve(frontDoor={"keysSecret": "keys", "minReplicas": 2, "maxReplicas": 9})
    cluster.look()
    assert cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"]["replicas"] == 6


def test_bounds_reach_the_cluster_that_runs(cluster: Kube) -> None:
    cluster.serve()
    cluster.look()
    ray = cluster.live("ray.io/v1", "RayService")
    groups = ray["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    labels = {"ray.io/originated-from-cr-name": "lt"}
    cluster.apply(
        cluster.object("ray.io/v1", "RayCluster", "lt-abcde", labels=labels, spec={"workerGroupSpecs": groups})
    )

    cluster.serve(denoisers={"min": 1, "max": 7})
    cluster.look()

    (denoise,) = [
        group
        for group in cluster.live("ray.io/v1", "RayCluster", "lt-abcde")["spec"]["workerGroupSpecs"]
        if group["groupName"] == "denoise"
    ]
    assert (denoise["minReplicas"], denoise["maxReplicas"], denoise["replicas"]) == (1, 7, 1)


def test_a_pod_that_waits_for_somebody_is_told_of(cluster: Kube) -> None:
    cluster.serve()
    cluster.look()
    cluster.serving()
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'}
    container = {"name": "ray-head", "image": "longtake:1", "imageID": "", "ready": False, "restartCount": 0}
    cluster.pod("broken", {}, containerStatuses=[{**container, "state": {"waiting": waiting}}])

    told = cluster.look()

    assert (told["Ready"]["status"], told["Degraded"]["status"]) == ("True", "True"), "all else serves"
    assert told["Degraded"]["message"] == 'pod broken: ray-head: CreateContainerConfigError: secret "s3" not found'


def test_a_pod_that_its_node_does_not_end_is_removed(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no kubelet here: so it is with a node that was cut off."""
    cluster.serve()
    cluster.look()
    cluster.serving()
    head = {"containers": [{"name": "ray-head", "image": "longtake:1"}], "nodeName": "away"}
    labels = {"longtake.dev/service": "lt", "ray.io/cluster": "lt-abcde", "ray.io/node-type": "head"}
    cluster.apply(cluster.object("v1", "Pod", "lost", labels=labels, spec=head))
    cluster.delete(cluster.live("v1", "Pod", "lost"), gracePeriodSeconds=30)

    again_s = reconcile(cluster, cluster.namespace, "lt", cluster.known)

    assert cluster.live("v1", "Pod", "lost")["metadata"]["deletionTimestamp"], "it may still end by itself"
    assert again_s is not None
    assert again_s <= 30 + leftovers.OVERDUE_S
    monkeypatch.setattr(leftovers, "OVERDUE_S", -31.0)
    cluster.look()
    assert cluster.get("v1", "Pod", cluster.namespace, "lost") is None


def test_what_is_somebody_elses_is_left_alone(cluster: Kube) -> None:
    ports = [{"port": 80}]
    theirs = cluster.object("v1", "Service", "lt", spec={"selector": {"app": "other"}, "ports": ports})
    cluster.create(theirs)
    before = cluster.live("v1", "Service")
    cluster.serve()

    told = cluster.look()

    assert told["Degraded"]["reason"] == "NameTaken"
    assert "there is a Service lt already" in told["Degraded"]["message"]
    assert cluster.live("v1", "Service") == before

    cluster.delete(before)
    applied = {"longtake.dev/applied": "0" * 64}
    theirs = cluster.object(
        "v1", "Service", "lt", spec={"selector": {"app": "other"}, "ports": ports}, labels={SERVICE: "another"}
    )
    theirs["metadata"]["annotations"] = applied
    cluster.create(theirs)
    assert cluster.look()["Degraded"]["reason"] == "NameTaken", "it was made for another service"
    cluster.delete(cluster.live("v1", "Service"))
    assert cluster.look()["Degraded"]["status"] == "False"


def test_a_wrong_setting_is_told_of_and_what_serves_stays(cluster: Kube) -> None:
    cluster.serve()
    cluster.look()
    before = cluster.live("ray.io/v1", "RayService")["spec"]

    cluster.serve(settings={"admission": {"max_active_jobs": 0}})
    told = cluster.look()

    assert told["Degraded"]["reason"] == "SettingsInvalid"
    assert "admission.max_active_jobs" in told["Degraded"]["message"]
    assert cluster.live("ray.io/v1", "RayService")["spec"] == before


def test_a_front_doors_setting_leaves_ray_alone(cluster: Kube) -> None:
    cluster.serve()
    cluster.look()
    before = cluster.live("ray.io/v1", "RayService")["metadata"]["generation"]

    cluster.serve(settings={"admission": {"max_active_jobs": 7}})
    cluster.look()

    assert cluster.live("ray.io/v1", "RayService")["metadata"]["generation"] == before
    pod = cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"]["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in pod["env"]}
    assert json.loads(variables["LONGTAKE_ADMISSION"])["max_active_jobs"] == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"denoisers": {"min": 3, "max": 2}}, "min must not be more than max: raise max, or lower min"),
        ({"frontDoor": {"keysSecret": "keys", "minReplicas": 3}}, "minReplicas must not be more than maxReplicas"),
        ({"store": {**SPEC["store"], "url": "/data"}}, "spec.store.url"),
        ({"head": {"resources": {"limits": {"memory": "3 GB"}}}}, "spec.head.resources.limits.memory"),
        ({"image": {"name": "longtake:1", "pullPolicy": "Sometimes"}}, "spec.image.pullPolicy"),
        ({"denoiser": {}}, "denoiser"),
        ({"model": "wan-1.3b"}, "trustedKeys must be given for a model that was added"),
        (
            {"frontDoor": {"keysSecret": "keys", "gateway": {**GATEWAY, "httpHostname": "video.example"}}},
            "grpcHostname and httpHostname must differ",
        ),
    ],
    ids=["bounds", "doors", "directory", "quantity", "pull policy", "unknown field", "nobody trusted", "one hostname"],
)
def test_a_bad_spec_is_refused_with_the_fix(cluster: Kube, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.serve(**changes)
    assert said in str(refused.value.body)


def test_the_store_of_a_service_stays(cluster: Kube) -> None:
    cluster.serve()
    with pytest.raises(ApiException) as refused:
        cluster.serve(store={**SPEC["store"], "url": "s3://other:9000/bucket/main"})
    assert "store.url cannot change" in str(refused.value.body)


def test_without_kuberay_it_says_what_to_install(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.serve()
    known = cluster._call

    def call(verb: str, api_version: str, kind: str, method: str, **arguments: Any) -> Any:
        # The other group's name: the API server really knows no such kind there.
        return known(verb, api_version.replace("ray.io", "no-ray.io"), kind, method, **arguments)

    monkeypatch.setattr(cluster, "_call", call)
    told = cluster.look()
    assert told["Degraded"]["reason"] == "KubeRayMissing"
    assert "install the KubeRay operator" in told["Degraded"]["message"]


def test_routes_come_and_go_with_the_gateway_that_is_asked_for(cluster: Kube) -> None:
    cluster.serve(frontDoor={"keysSecret": "keys", "gateway": GATEWAY})
    cluster.look()
    calls, media = (cluster.live("gateway.networking.k8s.io/v1", kind)["spec"] for kind in ("GRPCRoute", "HTTPRoute"))
    assert (calls["hostnames"], media["hostnames"]) == (["video.example"], ["media.example"])
    assert calls["parentRefs"] == media["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    ports = {port["name"]: port["port"] for port in cluster.live("v1", "Service")["spec"]["ports"]}
    for route, name in ((calls, "grpc"), (media, "http")):
        assert route["rules"] == [{"backendRefs": [{"name": "lt", "port": ports[name]}]}]

    cluster.serve()
    cluster.look()
    for kind in ("GRPCRoute", "HTTPRoute"):
        assert cluster.get("gateway.networking.k8s.io/v1", kind, cluster.namespace, "lt") is None


def test_without_the_gateway_api_it_says_what_to_install_and_serves(
    cluster: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kube, "routes", False)  # as where its CRDs are not installed
    cluster.serve(frontDoor={"keysSecret": "keys", "gateway": GATEWAY})
    told = cluster.look()
    assert told["Degraded"]["reason"] == "GatewayApiMissing"
    assert "install the Gateway API's CRDs" in told["Degraded"]["message"]
    cluster.serving()
    assert cluster.look()["Ready"]["status"] == "True"


class Killed(BaseException):
    """The operator's process ends here."""


def test_killed_at_any_call_it_converges(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a call reaches the API server, and after it did and nobody heard the answer."""
    whole = cluster._call
    kills = 0
    for after in (False, True):
        calls = 1
        while True:
            made = 0

            def call(*arguments: Any, at: int = calls, late: bool = after, **named: Any) -> Any:
                nonlocal made
                made += 1
                if made == at and not late:
                    raise Killed
                answer = whole(*arguments, **named)
                if made == at:
                    raise Killed
                return answer

            cluster.serve()
            monkeypatch.setattr(cluster, "_call", call)
            try:
                reconcile(cluster, cluster.namespace, "lt", {})
                survived = True
            except Killed:
                kills, survived = kills + 1, False
            monkeypatch.setattr(cluster, "_call", whole)
            cluster.known.clear()
            assert cluster.look()["Ready"]["reason"] == "StagesStarting"
            assert [event["reason"] for event in cluster.told()] == ["StagesStarting"], "neither lost nor told twice"
            at_rest = cluster.versions()
            cluster.look()
            assert cluster.versions() == at_rest
            if survived:
                break
            cluster.removed()
            calls += 1
    assert kills > 2 * 15


def test_one_of_two_operators_works_and_the_other_follows_it(
    server: kubernetes.ApiServer, cluster: Kube, tmp_path: Path
) -> None:
    with ExitStack() as running:
        operators = [
            running.enter_context(operator(server, cluster.namespace, tmp_path / f"{n}.log")) for n in range(2)
        ]
        first = until(cluster.holder, 60)
        cluster.serve()
        until(lambda: cluster.get("apps/v1", "Deployment", cluster.namespace, "lt-frontdoor"), 60)

        leader = next(process for process in operators if first.endswith(f"-{process.pid}"))
        leader.kill()
        cluster.delete(cluster.live("apps/v1", "Deployment", "lt-frontdoor"))
        until(lambda: cluster.get("apps/v1", "Deployment", cluster.namespace, "lt-frontdoor"), 90)
        assert cluster.holder() != first


def _lists(kind: str) -> float:
    """Of all of a kind, so far."""
    wanted = {"verb": "list", "kind": kind}
    (metric,) = CALLS.collect()
    return sum(sample.value for sample in metric.samples if sample.labels == wanted and sample.name.endswith("_total"))


def _writes() -> float:
    samples = next(iter(CALLS.collect())).samples
    return sum(
        sample.value
        for sample in samples
        if sample.name.endswith("_total") and sample.labels["verb"] not in ("get", "list")
    )
