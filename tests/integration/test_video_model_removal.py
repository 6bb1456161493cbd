"""VideoModels that are deleted on a real API server: what stays in the store, and what is waited for."""

from __future__ import annotations

import secrets

import pytest
from kubernetes import client

from operators import revisions
from operators.api.base import API_VERSION
from operators.api.video_model import FINALIZER
from operators.children.names import Owner
from operators.models import reconcile_model
from tests import kubernetes
from tests.integration.kube import Kube
from tests.integration.video_models import SPEC, ask, finish, look

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]


@pytest.fixture
def cluster(server: kubernetes.ApiServer) -> Kube:
    return Kube(server, f"m-{secrets.token_hex(4)}")


def gone(cluster: Kube) -> bool:
    return cluster.get(API_VERSION, "VideoModel", cluster.namespace, "wan-1.3b") is None


def collected(cluster: Kube, name: str) -> None:
    """The garbage collector lets an EngineBuild go when its Job's pods have gone."""
    live = cluster.live(API_VERSION, "EngineBuild", name)
    assert live["metadata"]["finalizers"] == ["foregroundDeletion"]
    cluster.patch(live, [{"op": "remove", "path": "/metadata/finalizers"}])


def test_it_goes_and_leaves_the_model_in_the_store(cluster: Kube) -> None:
    ask(cluster)
    look(cluster)
    cluster.delete(cluster.live(API_VERSION, "VideoModel", "wan-1.3b"))
    assert gone(cluster)


def test_it_goes_when_its_builds_have_ended_and_the_store_has_it_no_more(cluster: Kube) -> None:
    ask(cluster, deletionPolicy="Delete")
    look(cluster)
    assert cluster.live(API_VERSION, "VideoModel", "wan-1.3b")["metadata"]["finalizers"] == [FINALIZER]
    cluster.serve(model="wan-1.3b", trustedKeys=SPEC["trustedKeys"])
    cluster.delete(cluster.live(API_VERSION, "VideoModel", "wan-1.3b"))

    told = look(cluster)
    assert (told["Degraded"]["reason"], told["Ready"]["status"]) == ("InUse", "False")
    assert "VideoService lt serves it" in told["Degraded"]["message"]

    service = cluster.live(API_VERSION, "VideoService", "lt")
    owner = Owner.of(service)
    revisions.keep(cluster, owner, revisions.revision_of(owner, service["spec"]))
    cluster.serve()
    assert look(cluster)["Degraded"]["reason"] == "InUse", "what served last may have to serve again"
    (stable,) = cluster.find("apps/v1", "ControllerRevision", cluster.namespace, "")
    cluster.delete(stable)
    assert look(cluster)["Progressing"]["reason"] == "BuildsEnd"
    assert cluster.get("batch/v1", "Job", cluster.namespace, "wan-1.3b-remove") is None
    collected(cluster, "wan-1.3b-add")

    assert look(cluster)["Progressing"]["reason"] == "Removing"
    finish(cluster, "wan-1.3b-remove", "BackoffLimitExceeded")
    told = look(cluster)
    assert told["Degraded"]["reason"] == "RemovalFailed"
    assert "deletionPolicy to Retain" in told["Degraded"]["message"]

    cluster.delete(cluster.live("batch/v1", "Job", "wan-1.3b-remove"))
    look(cluster)
    job = cluster.live("batch/v1", "Job", "wan-1.3b-remove")["spec"]["template"]["spec"]["containers"][0]
    assert job["command"] == ["longtake", "models", "rm", "wan-1.3b", "--force"]
    finish(cluster, "wan-1.3b-remove")
    reconcile_model(cluster, cluster.namespace, "wan-1.3b", {})
    assert gone(cluster)


def test_one_that_is_to_go_is_let_go_when_the_model_may_stay(cluster: Kube) -> None:
    ask(cluster, deletionPolicy="Delete")
    look(cluster)
    cluster.delete(cluster.live(API_VERSION, "VideoModel", "wan-1.3b"))
    look(cluster)
    ask(cluster, deletionPolicy="Retain")
    reconcile_model(cluster, cluster.namespace, "wan-1.3b", {})
    assert gone(cluster)


def test_a_namespace_that_goes_takes_it_along(server: kubernetes.ApiServer, cluster: Kube) -> None:
    """No Job can be made there any more: the model stays in the store."""
    ask(cluster, deletionPolicy="Delete")
    look(cluster)
    client.CoreV1Api(server.client()).delete_namespace(cluster.namespace)
    cluster.delete(cluster.live(API_VERSION, "EngineBuild", "wan-1.3b-add"))
    cluster.delete(cluster.live(API_VERSION, "VideoModel", "wan-1.3b"))
    reconcile_model(cluster, cluster.namespace, "wan-1.3b", {})
    assert gone(cluster)
