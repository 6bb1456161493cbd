"""A namespace of a real API server, where the operator works and a test plays everybody else."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from kubernetes import client

from operators.api.base import API_VERSION
from operators.api.schema import crds
from operators.apply import Known
from operators.children.desired import KINDS
from operators.children.names import FIELD_MANAGER
from operators.children.routes import KINDS as ROUTES
from operators.cluster import Cluster
from operators.reconcile import reconcile
from tests import kubernetes
from tests.servers import free_port

SPEC: dict[str, Any] = {
    "image": {"name": "longtake:1"},
    "store": {"url": "s3://minio:9000/longtake/main?secure=false", "credentials": {"existingSecret": "s3"}},
    "frontDoor": {"keysSecret": "keys"},
    "denoisers": {"min": 0, "max": 2},
}
OTHERS = ((API_VERSION, "VideoService"), ("apps/v1", "ControllerRevision"), ("v1", "Event"))


class Kube(Cluster):
    """The operator's own client, in a namespace of the test's."""

    def __init__(self, server: kubernetes.ApiServer, namespace: str) -> None:
        super().__init__(server.client())
        self.namespace = namespace
        self.known: Known = {}
        client.CoreV1Api(server.client()).create_namespace(cast(Any, {"metadata": {"name": namespace}}))

    def serve(self, **changes: Any) -> None:
        """Ask for a service."""
        spec = copy.deepcopy(SPEC) | changes
        self.apply(self.object(API_VERSION, "VideoService", "lt", spec=spec), manager="test")

    def object(self, api_version: str, kind: str, name: str, **parts: Any) -> dict[str, Any]:
        labels = parts.pop("labels", {})
        metadata = {"name": name, "namespace": self.namespace, "labels": labels}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}

    def look(self) -> dict[str, Any]:
        """Reconcile, and what is told then: conditions by type."""
        reconcile(self, self.namespace, "lt", self.known)
        return {
            condition["type"]: condition for condition in self.live(API_VERSION, "VideoService")["status"]["conditions"]
        }

    def live(self, api_version: str, kind: str, name: str = "lt") -> dict[str, Any]:
        found = self.get(api_version, kind, self.namespace, name)
        assert found is not None, f"{kind} {name} is not there"
        return found

    def tell(self, found: dict[str, Any], **status: Any) -> None:
        """What another controller says of an object."""
        told = {name: found[name] for name in ("apiVersion", "kind")}
        metadata = {"name": found["metadata"]["name"], "namespace": self.namespace}
        self.apply({**told, "metadata": metadata, "status": status}, subresource="status")

    def serving(self, **statuses: str) -> None:
        """KubeRay, the Deployment's controller and kubelets bring all up; but for models of another status."""
        ray = self.live("ray.io/v1", "RayService")
        names = [one["name"] for one in yaml.safe_load(ray["spec"]["serveConfigV2"])["applications"]]
        applications = {
            name: {
                "status": statuses.get(name.removeprefix("longtake-"), "RUNNING"),
                "serveDeploymentStatuses": {"denoiser": {"status": "HEALTHY"}},
            }
            for name in names
        }
        self.tell(
            ray,
            observedGeneration=ray["metadata"]["generation"],
            activeServiceStatus={"rayClusterName": "lt-abcde", "applicationStatuses": applications},
        )
        head = {"ray.io/cluster": "lt-abcde", "ray.io/node-type": "head", "ray.io/serve": "true"}
        self.pod("lt-abcde-head", head)
        door = self.live("apps/v1", "Deployment", "lt-frontdoor")
        self.tell(
            door, observedGeneration=door["metadata"]["generation"], replicas=2, updatedReplicas=2, readyReplicas=2
        )

    def pod(self, name: str, labels: dict[str, str], **status: Any) -> None:
        labels = {**labels, "longtake.dev/service": "lt"}
        spec = {"containers": [{"name": "ray-head", "image": "longtake:1"}]}
        self.apply(self.object("v1", "Pod", name, labels=labels, spec=spec))
        told = status or {"conditions": [{"type": "Ready", "status": "True"}]}
        self.tell(self.live("v1", "Pod", name), **told)

    def removed(self) -> None:
        """All that was made, and the service."""
        for api_version, kind in (*KINDS, *ROUTES, *OTHERS):
            for child in self.find(api_version, kind, self.namespace, ""):
                self.delete(child)

    def holder(self) -> str:
        """Who holds the Lease."""
        lease = self.get("coordination.k8s.io/v1", "Lease", self.namespace, "longtake-operator")
        return str(lease["spec"]["holderIdentity"]) if lease else ""

    def told(self) -> list[dict[str, Any]]:
        """The operator's Events: an API server that is short of time tells of its own, too."""
        events = self.find("v1", "Event", self.namespace, "")
        return [event for event in events if event["source"].get("component") == FIELD_MANAGER]

    def versions(self) -> dict[str, str]:
        """Of everything in the namespace that a write would change."""
        kinds = [
            ("ray.io/v1", "RayService"),
            ("apps/v1", "Deployment"),
            ("v1", "Service"),
            (API_VERSION, "VideoService"),
        ]
        kinds += [("policy/v1", "PodDisruptionBudget"), ("networking.k8s.io/v1", "NetworkPolicy")]
        kinds += [("apps/v1", "ControllerRevision"), ("batch/v1", "Job")]
        found = [(kind, child) for version, kind in kinds for child in self.find(version, kind, self.namespace, "")]
        found += [("Event", event) for event in self.told()]
        return {f"{kind}/{child['metadata']['name']}": child["metadata"]["resourceVersion"] for kind, child in found}


@contextmanager
def knowing_our_kinds(folder: Path) -> Iterator[kubernetes.ApiServer]:
    """A real API server with the chart's CRDs, and stand-ins for KubeRay's and the Gateway API's."""
    with kubernetes.api_server(folder) as running:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            api = client.ApiextensionsV1Api(running.client())
            others = [("ray.io", "RayService"), ("ray.io", "RayCluster")]
            others += [(version.partition("/")[0], kind) for version, kind in ROUTES]
            for crd in (*crds(), *(_stand_in(group, kind) for group, kind in others)):
                api.create_custom_resource_definition(cast(Any, crd))
            _established(api)
        yield running


@contextmanager
def operator(
    server: kubernetes.ApiServer, namespace: str, log: Path, metrics: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The operator's own process, for one namespace. `metrics`: the port where they are read."""
    ports = [f"--metrics-port={metrics or free_port()}", f"--health-port={free_port()}"]
    command = [sys.executable, "-m", "operators", f"--namespace={namespace}", f"--lease-namespace={namespace}", *ports]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "KUBECONFIG": str(server.kubeconfig)}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)  # of a thousand resources it ends a task each, maybe on a busy machine
        finally:
            process.kill()


def until(true: Callable[[], Any], seconds: float) -> Any:
    """What it answers as soon as that is something."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := true():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"not within {seconds} s")


def _stand_in(group: str, kind: str) -> dict[str, Any]:
    """Another project's kind by its name, with any content."""
    open_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open_object, "status": open_object}}},
    }
    plural = f"{kind.lower()}s"
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
        },
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _established(api: client.ApiextensionsV1Api) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        found = api.list_custom_resource_definition().items
        told = [condition for crd in found if crd.status for condition in crd.status.conditions or []]
        states = [condition.status for condition in told if condition.type == "Established"]
        if len(states) == len(found) and set(states) == {"True"}:
            return
        time.sleep(0.2)
    raise RuntimeError("the CRDs are not established")
