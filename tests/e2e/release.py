"""A release of the chart in a namespace of its own, by the commands that docs/kubernetes.md gives, and looks at it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from operators.api.base import API_VERSION
from operators.children.names import COMPONENT, DENOISE, FRONT_DOOR, GRPC_PORT, HTTP_PORT, LIGHT
from operators.cluster import Cluster, Object
from operators.policies.world import is_ready
from tests.e2e.given import Given

CHART = Path(__file__).parents[2] / "helm" / "longtake"
NAME, TENANTS = "longtake", ("studio", "agency", "house")
"""The release, and whose videos are made: our client's, the xai-sdk's, and those of the tests themselves."""
PARTS = {
    "a Denoiser": f"{COMPONENT}={DENOISE}",
    "the light stages": f"{COMPONENT}={LIGHT}",
    "a front door": f"{COMPONENT}={FRONT_DOOR}",
    "the operator": "app.kubernetes.io/name=longtake-operator",
    "Ray's head": f"{COMPONENT}=ray-head",
}
"""Pods, by their labels."""
LONGEST_S = 900.0
_KEPT = "release.json"
_SMALL = {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
_REPLICA = re.compile(r"^\s*(\d+) ray::ServeReplica:([^:]+):(\w+)", re.MULTILINE)


class Release:
    """It, once `apply` was called. `values` are the chart's: change them, and apply."""

    def __init__(self, given: Given, namespace: str, folder: Path) -> None:
        self.cluster: Cluster = given.cluster
        self.namespace = namespace
        self.folder = folder
        self.store = (
            given.store.replace("?", f"/{namespace}?", 1) if "?" in given.store else f"{given.store}/{namespace}"
        )
        self.keys: dict[str, str] = {}
        """Of tenants."""
        self.before: set[str] = set()
        """What was in the namespace before the chart."""
        self.values: dict[str, Any] = {
            "image": image(given.image),
            "rayImage": image(given.ray_image),
            "operator": {"namespaces": [namespace]},
            "service": {
                "enabled": True,
                "store": {"url": self.store, "credentials": {"existingSecret": "longtake-s3"}},
                "trustedKeys": {"configMap": "engine-keys"},
                "frontDoor": {"keysSecret": "longtake-keys"},
                "head": {"resources": _SMALL},
                "light": {"resources": _SMALL},
                "denoisers": {"min": 1, "max": 1, "resources": _SMALL},
                "scaling": {"backlogSeconds": 5, "downDelaySeconds": 10, "idleSeconds": 20},
                "settings": {},
            },
            "test": {"existingSecret": "client"},
        }

    @classmethod
    def kept(cls, given: Given, folder: Path) -> Release | None:
        """The one that stands since an earlier call, by what that wrote into the folder."""
        file = folder / _KEPT
        if not file.is_file():
            return None
        told = json.loads(file.read_text())
        found = cls(given, told["namespace"], folder)
        found.keys, found.values, found.before = told["keys"], told["values"], set(told["before"])
        return found if found.stands() else None

    def stands(self) -> bool:
        """Whether it is installed."""
        return self.has(API_VERSION, "VideoService", NAME)

    def forget(self) -> None:
        """No later call is to find it."""
        (self.folder / _KEPT).unlink(missing_ok=True)

    def prepare(self, given: Given) -> None:
        """The namespace, and what is to be there before the chart."""
        self.kubectl("create", "namespace", self.namespace)
        self.kubectl("label", "namespace", self.namespace, "pod-security.kubernetes.io/enforce=restricted")
        for tenant in TENANTS:
            told = self._longtake("keys", "add", tenant, "--tenant", tenant, "--file", "keys.jsonl", "-o", "json")
            self.keys[tenant] = json.loads(told)["key"]
        self._longtake("engines", "keygen")
        stored = f"--from-literal=access-key={given.access_key}", f"--from-literal=secret-key={given.secret_key}"
        engines = self.folder / ".longtake" / "engine-keys"
        self._create("secret", "generic", "longtake-s3", *stored)
        self._create("secret", "generic", "longtake-keys", f"--from-file={self.folder / 'keys.jsonl'}")
        self._create("secret", "generic", "client", f"--from-literal=key={self.keys[TENANTS[2]]}")
        self._create("secret", "generic", "engine-signing", f"--from-file=key.pem={engines / 'key.pem'}")
        self._create("configmap", "engine-keys", f"--from-file=trusted={engines / 'trusted'}")
        self.before = self.left()

    def make(self, kind: str, name: str, **spec: Any) -> None:
        """Ask for a resource of ours, on the service's store and with its keys."""
        grounds = {"store": self.values["service"]["store"], "trustedKeys": {"configMap": "engine-keys"}}
        metadata = {"name": name, "namespace": self.namespace}
        asked = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": {**grounds, **spec}}
        self.cluster.apply(asked, manager="somebody")  # what the operator applies of it itself would take the rest away

    def apply(self) -> None:
        """Install it, or have it as `values` now say."""
        told = {"namespace": self.namespace, "keys": self.keys, "values": self.values, "before": sorted(self.before)}
        (self.folder / _KEPT).write_text(json.dumps(told))
        file = self.folder / "values.json"
        file.write_text(json.dumps(self.values))  # YAML, too
        self.helm("upgrade", "--install", NAME, str(CHART), "--values", str(file))

    def helm(self, *words: str) -> str:
        """What it said."""
        return _run("helm", "--namespace", self.namespace, *words)

    def kubectl(self, *words: str) -> str:
        """What it said."""
        return _run("kubectl", "--namespace", self.namespace, *words)

    def found(self, api_version: str, kind: str, name: str = NAME) -> Object:
        """As the API server has it."""
        found = self.cluster.get(api_version, kind, self.namespace, name)
        assert found is not None, f"{kind} {name} is not there"
        return found

    def has(self, api_version: str, kind: str, name: str) -> bool:
        """Whether there is such an object."""
        return self.cluster.get(api_version, kind, self.namespace, name) is not None

    def service(self) -> Object:
        """The VideoService."""
        return self.found(API_VERSION, "VideoService")

    def settled(self) -> bool:
        """Whether it serves as it was last asked to, and nothing is on its way."""
        service = self.service()
        status = service.get("status") or {}
        told = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        new = status.get("observedGeneration") == service["metadata"]["generation"]
        return bool(new and (told.get("Ready"), told.get("Progressing")) == ("True", "False"))

    def whole(self, told: int) -> bool:
        """Whether it serves, and a change that was taken back was told of so often, and left nothing behind."""
        status = self.service()["status"]
        ready = any((one["type"], one["status"]) == ("Ready", "True") for one in status["conditions"])
        clusters = self.cluster.find("ray.io/v1", "RayCluster", self.namespace, "")
        return ready and len(clusters) == 1 and len(self.events("ProgressDeadlineExceeded")) == told

    def rollout(self) -> Object:
        """How the newest change goes."""
        found: Object = self.service()["status"]["rollout"]
        return found

    def events(self, reason: str) -> list[str]:
        """What was told of the service for this reason."""
        found = self.cluster.find("v1", "Event", self.namespace, "")
        ours = [one for one in found if one["involvedObject"]["kind"] == "VideoService"]
        return [one["message"] for one in ours if one["reason"] == reason]

    def active_cluster(self) -> str:
        """The RayCluster that serves."""
        return str(self.service()["status"]["activeCluster"])

    def address(self, port: int = GRPC_PORT) -> str:
        """Of the Service, in front of all front doors."""
        return f"{self.found('v1', 'Service')['spec']['clusterIP']}:{port}"

    def public_url(self) -> str:
        """As this machine reaches videos."""
        return f"http://{self.address(HTTP_PORT)}"

    def pods(self, selector: str) -> dict[str, bool]:
        """Names, and whether each is ready."""
        found = self.cluster.find("v1", "Pod", self.namespace, selector)
        return {pod["metadata"]["name"]: is_ready(pod) for pod in found}

    def kill(self, pod: str) -> None:
        """At once, with no grace."""
        self.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")

    def logs(self, part: str) -> str:
        """Of all pods of it."""
        return "".join(self.kubectl("logs", pod) for pod in self.pods(PARTS[part]))

    def replicas(self, application: str) -> set[tuple[str, str, str]]:
        """Of a Serve application: pod, process and stage of each."""
        found = set()
        for part, container in (
            ("a Denoiser", "ray-worker"),
            ("the light stages", "ray-worker"),
            ("Ray's head", "ray-head"),
        ):
            for pod in self.pods(PARTS[part]):
                told = self.kubectl("exec", pod, "--container", container, "--", "ps", "-eo", "pid=,args=")
                found |= {(pod, pid, stage) for pid, whose, stage in _REPLICA.findall(told) if whose == application}
        return found

    def left(self) -> set[str]:
        """All that is in the namespace, but Events."""
        kinds = self.kubectl("api-resources", "--namespaced", "--verbs=list", "-o=name").split()
        kinds = [kind for kind in kinds if not kind.startswith("events")]
        return set(self.kubectl("get", ",".join(kinds), "--ignore-not-found", "-o=name").split())

    def until(self, what: str, true: Callable[[], bool], within_s: float = LONGEST_S) -> float:
        """Wait for it; how many seconds that took. Raises `AssertionError`, which tells how the service is."""
        began = time.monotonic()
        while not true():
            if time.monotonic() - began > within_s:
                raise AssertionError(f"{what}: not within {within_s:.0f} s\n{self._told()}")
            time.sleep(0.5)
        return time.monotonic() - began

    def _told(self) -> str:
        kinds = "videoservice,enginebuild,rayservice,raycluster,pod,event"
        return self.kubectl("get", kinds, "-o=wide", "--ignore-not-found") + json.dumps(self.service().get("status"))

    def _create(self, *words: str) -> None:
        self.kubectl("create", *words)

    def _longtake(self, *words: str) -> str:
        """By somebody whose home, and whose folder, is that of the test."""
        environment = {**os.environ, "HOME": str(self.folder)}
        return _run(sys.executable, "-m", "serving.cli.main", *words, cwd=self.folder, env=environment)


def image(name: str) -> dict[str, str]:
    """As the chart's values have it."""
    repository, _, tag = name.rpartition(":")
    return {"repository": repository, "tag": tag}


def _run(*command: str, **options: Any) -> str:
    """What it printed. Raises `AssertionError` with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, **options)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    return str(done.stdout)
