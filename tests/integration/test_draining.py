"""A VideoService that is deleted while jobs run, on a real API server: what serves stays until they have ended."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from operators import reconcile as reconciling
from operators.api.base import API_VERSION
from operators.api.video_service import FINALIZER
from operators.farewell import depart
from operators.reconcile import reconcile
from tests import kubernetes
from tests.integration.kube import Kube
from tests.integration.video_models import finish

pytestmark = [
    pytest.mark.skipif(bool(kubernetes.missing()), reason=f"not on the PATH: {', '.join(kubernetes.missing())}"),
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
    pytest.mark.xdist_group("kubernetes"),
]
DRAINS: dict[str, Any] = {"drain": {"timeoutSeconds": 600}}


@pytest.fixture
def cluster(server: kubernetes.ApiServer) -> Kube:
    return Kube(server, f"d-{secrets.token_hex(4)}")


def deleted(cluster: Kube) -> None:
    """Somebody deletes the service, whose parts are all up."""
    cluster.serve(**DRAINS)
    cluster.look()
    cluster.serving()
    cluster.look()
    cluster.delete(cluster.live(API_VERSION, "VideoService"))


def gone(cluster: Kube) -> bool:
    return cluster.get(API_VERSION, "VideoService", cluster.namespace, "lt") is None


def look(cluster: Kube) -> float | None:
    return reconcile(cluster, cluster.namespace, "lt", cluster.known)


def test_what_runs_may_end_before_it_goes(cluster: Kube) -> None:
    deleted(cluster)

    told = cluster.look()

    assert (told["Ready"]["status"], told["Progressing"]["reason"]) == ("True", "Draining")
    job = cluster.live("batch/v1", "Job", "lt-drain")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["longtake", "jobs", "drain", "--within", "600s"]
    assert job["metadata"]["ownerReferences"][0]["kind"] == "VideoService"
    versions = cluster.versions()
    assert look(cluster) == 2.0
    assert cluster.versions() == versions, "while it waits, nothing is written"
    assert cluster.live("ray.io/v1", "RayService")

    finish(cluster, "lt-drain")
    look(cluster)
    assert gone(cluster)


def test_where_its_children_go_first_there_is_nothing_to_wait_for(cluster: Kube) -> None:
    cluster.serve(**DRAINS)
    cluster.look()
    cluster.delete(cluster.live(API_VERSION, "VideoService"), propagationPolicy="Foreground")
    look(cluster)
    assert cluster.get("batch/v1", "Job", cluster.namespace, "lt-drain") is None
    left = cluster.get(API_VERSION, "VideoService", cluster.namespace, "lt")
    assert left is None or left["metadata"]["finalizers"] == ["foregroundDeletion"], "Kubernetes' own may stay"


@pytest.mark.parametrize("reason", ["PodFailurePolicy", "BackoffLimitExceeded"])
def test_what_cannot_be_waited_for_keeps_nobody(cluster: Kube, reason: str) -> None:
    deleted(cluster)
    cluster.look()
    finish(cluster, "lt-drain", reason)
    look(cluster)
    assert gone(cluster)


def test_it_goes_when_the_time_is_over_whatever_its_job_does(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted(cluster)
    cluster.look()

    later = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(seconds=601))
    monkeypatch.setattr(reconciling, "datetime", later)
    look(cluster)
    assert gone(cluster)


def test_a_namespace_that_goes_waits_for_nothing(cluster: Kube) -> None:
    cluster.serve(**DRAINS)
    cluster.look()
    namespace = cluster.get("v1", "Namespace", "", cluster.namespace)
    assert namespace is not None
    namespace["metadata"]["namespace"] = ""
    cluster.delete(namespace)
    cluster.delete(cluster.live(API_VERSION, "VideoService"))
    look(cluster)
    assert gone(cluster)


def test_without_a_time_it_is_free_to_go(cluster: Kube) -> None:
    cluster.serve(**DRAINS)
    cluster.look()
    assert cluster.live(API_VERSION, "VideoService")["metadata"]["finalizers"] == [FINALIZER]
    cluster.serve(drain={"timeoutSeconds": 0})
    cluster.look()
    assert not cluster.live(API_VERSION, "VideoService")["metadata"].get("finalizers")


def test_before_a_release_goes_its_service_has_gone(cluster: Kube) -> None:
    depart(cluster, cluster.namespace, "lt")  # there is none
    cluster.serve()
    depart(cluster, cluster.namespace, "lt")
    assert gone(cluster)
