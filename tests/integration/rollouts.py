"""A change of a service on a real API server: what the tests of rollouts and of replays have in common."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml

from operators import gather
from operators.api.base import API_VERSION
from operators.metrics import TAKEN_BACK
from operators.policies import rollout
from operators.reconcile import reconcile
from tests import kubernetes
from tests.integration.kube import Kube

OLD: dict[str, Any] = {"trustedKeys": {"configMap": "engine-keys"}}


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.later = timedelta()

    def now(self, zone: Any) -> datetime:
        return datetime.now(zone) + self.later


def with_our_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The operator's time is the test's, and what is ready counts at once."""
    found = Clock()
    monkeypatch.setattr(gather, "datetime", found)
    monkeypatch.setattr(rollout, "READY_S", 0.0)
    return found


def first_version(server: kubernetes.ApiServer) -> Kube:
    """A service whose first version has come to serve."""
    kube = Kube(server, f"r-{secrets.token_hex(4)}")
    kube.serve(**OLD)
    kube.look()
    kube.serving()
    kube.look()
    kube.look()  # the Director's Service
    assert how(kube)["state"] == "Complete"
    return kube


def how(cluster: Kube) -> dict[str, Any]:
    found: dict[str, Any] = cluster.live(API_VERSION, "VideoService")["status"]["rollout"]
    return found


def models(cluster: Kube) -> set[str]:
    """Whose stages Ray is told to run."""
    config = yaml.safe_load(cluster.live("ray.io/v1", "RayService")["spec"]["serveConfigV2"])
    return {one["name"].removeprefix("longtake-") for one in config["applications"]} - {"longtake"}


def offered(cluster: Kube) -> str:
    """What front doors offer by default."""
    pod = cluster.live("apps/v1", "Deployment", "lt-frontdoor")["spec"]["template"]["spec"]["containers"][0]
    return str(next(one["value"] for one in pod["env"] if one["name"] == "LONGTAKE_MODEL"))


def counted_as_taken_back(cluster: Kube) -> float:
    (metric,) = TAKEN_BACK.collect()
    (found,) = [sample.value for sample in metric.samples if sample.labels["namespace"] == cluster.namespace]
    return found


def revisions(cluster: Kube) -> list[str]:
    return [one["metadata"]["name"] for one in cluster.find("apps/v1", "ControllerRevision", cluster.namespace, "")]


def look_killed_at_each_call(cluster: Kube, monkeypatch: pytest.MonkeyPatch) -> int:
    """One look, killed before a call of it reaches the API server, one after the other; how many there are."""
    whole, calls, survived = cluster._call, 0, False
    while not survived:
        calls, made = calls + 1, 0

        def call(*arguments: Any, at: int = calls, **named: Any) -> Any:
            nonlocal made
            made += 1
            if made == at:
                raise InterruptedError
            return whole(*arguments, **named)

        monkeypatch.setattr(cluster, "_call", call)
        try:
            reconcile(cluster, cluster.namespace, "lt", {})
            survived = True
        except InterruptedError:
            pass
    monkeypatch.setattr(cluster, "_call", whole)
    return calls
