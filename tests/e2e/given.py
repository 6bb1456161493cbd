"""What the tests of a real cluster are given, by the environment; and in words, what of it is missing.

KUBECONFIG              an administrator of a cluster with KubeRay; this machine reaches its Services by their addresses
E2E_IMAGE               the image `longtake` that `make images` makes, by the name under which nodes have it
E2E_RAY_IMAGE           the same of `longtake-ray`
E2E_BUILD_IMAGE         one with torch, for EngineBuilds; where it is empty, none is tried
E2E_NODE                a node that E2E_NODE_DOWN, a shell command, cuts off the network, and E2E_NODE_UP brings back;
                        not the one by which this machine reaches the cluster. Where it is empty, none is
E2E_OTHER_RAY_IMAGE     one whose engines compute otherwise (tests/e2e/otherwise makes it), which a replay is to find;
                        where it is empty, none is tried
E2E_FOLDER              where a release is kept that still stands when the tests end: the next call goes on with it, and
                        may choose tests (`-k`). Where it is empty, none is left standing
E2E_STORE               s3://host:port/bucket/prefix, as pods and this machine reach it
LONGTAKE_S3_ACCESS_KEY, LONGTAKE_S3_SECRET_KEY    the store's keys
"""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from typing import Any

from operators.cluster import Cluster, connect
from tests.servers import program

_NEEDED = ("KUBECONFIG", "E2E_IMAGE", "E2E_RAY_IMAGE", "E2E_STORE", "LONGTAKE_S3_ACCESS_KEY", "LONGTAKE_S3_SECRET_KEY")
_PROGRAMS = ("helm", "kubectl")


@dataclass(frozen=True)
class Given:
    """A cluster, images and a store."""

    cluster: Cluster
    image: str
    ray_image: str
    build_image: str
    other_ray_image: str
    node: str
    node_down: str
    node_up: str
    store: str
    access_key: str
    secret_key: str


def missing() -> str:
    """What keeps the tests from being run; empty where nothing does."""
    unset = [name for name in _NEEDED if not os.environ.get(name)]
    if unset:
        return f"not in the environment: {', '.join(unset)} (docs/kubernetes.md says what each is)"
    absent = [name for name in _PROGRAMS if program(name) is None]
    if absent:
        return f"not on the PATH: {', '.join(absent)}"
    asked = subprocess.run(["kubectl", "get", "--raw", "/readyz"], capture_output=True, text=True, timeout=60)
    if asked.returncode:
        return f"the cluster of KUBECONFIG does not answer: {asked.stderr.strip()}"
    cluster = connect()
    if not cluster.knows("ray.io/v1", "RayService"):
        return "the cluster has no KubeRay: install its chart kuberay-operator, 1.6 or newer"
    return _unreached(cluster)


def given() -> Given:
    """All of it, where nothing is missing."""
    environment = os.environ
    return Given(
        connect(),
        environment["E2E_IMAGE"],
        environment["E2E_RAY_IMAGE"],
        environment.get("E2E_BUILD_IMAGE", ""),
        environment.get("E2E_OTHER_RAY_IMAGE", ""),
        environment.get("E2E_NODE", ""),
        environment.get("E2E_NODE_DOWN", ""),
        environment.get("E2E_NODE_UP", ""),
        environment["E2E_STORE"],
        environment["LONGTAKE_S3_ACCESS_KEY"],
        environment["LONGTAKE_S3_SECRET_KEY"],
    )


def _unreached(cluster: Cluster) -> str:
    """Clients call through a Service, so its address must lead there from here."""
    kubernetes: dict[str, Any] = cluster.get("v1", "Service", "default", "kubernetes") or {"spec": {}}
    address = kubernetes["spec"].get("clusterIP", "")
    try:
        socket.create_connection((address, 443), timeout=10).close()
    except OSError as error:
        return f"this machine does not reach the cluster's Services ({address}: {error}): run it on a node, or in a pod"
    return ""
