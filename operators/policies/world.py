"""What is there of a service, as `gather.py` found it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import yaml

from operators.children.names import COMPONENT, DENOISE, Owner
from operators.children.network import RAY_CLUSTER, RAY_NODE_TYPE, RAY_SERVES
from serving.deployments.declared import APPLICATION

Object = Mapping[str, Any]


@dataclass(frozen=True)
class World:
    """Live objects, as the API server has them."""

    owner: Owner
    generation: int
    children: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    """By kind and name."""
    clusters: tuple[Object, ...] = ()
    """RayClusters that KubeRay made of the RayService."""
    pods: tuple[Object, ...] = ()
    """Of all parts."""
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """When it was looked at."""
    kuberay: bool = True
    """Whether the cluster knows RayServices."""
    routes: bool = True
    """Whether it knows the Gateway API's routes."""
    fresh: frozenset[str] = frozenset()
    """Ray's applications that a change under way brings: what serves is whole without them."""

    served: bool = False
    """Whether all was served at the last look: while KubeRay says nothing of Ray's applications, what was still is."""

    @property
    def ray(self) -> Object:
        """The RayService; empty where there is none yet."""
        return self.children.get(("RayService", self.owner.ray), {})

    @property
    def door(self) -> Object:
        """The front door's Deployment."""
        return self.children.get(("Deployment", self.owner.front_door), {})

    @property
    def active_cluster(self) -> str:
        """The RayCluster that serves, or at the first start the one that is about to; empty before."""
        status = self.ray.get("status", {})
        active = status.get("activeServiceStatus", {}).get("rayClusterName", "")
        return str(active or self.pending_cluster)

    @property
    def pending_cluster(self) -> str:
        """The one that is to take over."""
        return str(self.ray.get("status", {}).get("pendingServiceStatus", {}).get("rayClusterName", ""))

    @property
    def replacing(self) -> bool:
        """Whether one serves and another one is to take over."""
        return bool(self.pending_cluster) and self.pending_cluster != self.active_cluster

    @property
    def applications(self) -> Mapping[str, Object]:
        """What the active cluster's Serve last said of each application that is wanted, the Director's and the models';
        nothing of one that it does not know yet. Empty while it says nothing of the Director's."""
        status = self.ray.get("status", {}).get("activeServiceStatus", {})
        found: Mapping[str, Object] = status.get("applicationStatuses") or {}
        if APPLICATION not in found:
            return {}
        wanted = yaml.safe_load(self.ray["spec"]["serveConfigV2"])["applications"]
        return {one["name"]: found.get(one["name"], {}) for one in wanted}

    @property
    def pending_applications(self) -> Mapping[str, Object]:
        """The same of the cluster that is to take over, of those that it knows."""
        if not self.replacing:
            return {}
        found: Mapping[str, Object] = self.ray["status"]["pendingServiceStatus"].get("applicationStatuses") or {}
        return found

    @property
    def given_up(self) -> frozenset[str]:
        """Applications whose replicas Ray tries no more, until their configuration is another one."""
        found = (self.pending_applications if self.replacing else self.applications).items()
        return frozenset(name for name, application in found if application.get("status") == "DEPLOY_FAILED")

    @property
    def ready_heads(self) -> int:
        """Heads of the active cluster that are ready."""
        return len(self._heads)

    @property
    def serving_heads(self) -> int:
        """Those of them whose Serve KubeRay has spoken to: what it tells of applications is of theirs."""
        return sum(labels(pod).get(RAY_SERVES) == "true" for pod in self._heads)

    @property
    def _heads(self) -> list[Object]:
        named = {RAY_CLUSTER: self.active_cluster, RAY_NODE_TYPE: "head"}
        return [pod for pod in self.pods if named.items() <= labels(pod).items() and is_ready(pod)]

    @property
    def denoisers(self) -> int:
        """Denoiser pods that are ready."""
        return sum(is_ready(pod) for pod in self.pods if labels(pod).get(COMPONENT) == DENOISE)

    @property
    def doors(self) -> int:
        """Front-door pods that are ready."""
        return self._doors("readyReplicas")

    @property
    def doors_there(self) -> int:
        """Front-door pods, ready or not."""
        return self._doors("replicas")

    @property
    def doors_as_wanted(self) -> int:
        """Those of them that were made of the newest template."""
        return self._doors("updatedReplicas")

    def _doors(self, which: str) -> int:
        return int(self.door.get("status", {}).get(which) or 0)


def labels(found: Object) -> Mapping[str, str]:
    """Of an object."""
    own: Mapping[str, str] = found.get("metadata", {}).get("labels") or {}
    return own


def is_ready(pod: Object) -> bool:
    """Whether a pod takes work, and is not about to end."""
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def settled(found: Object) -> bool:
    """Whether what its controller tells is of the object as it now is."""
    return bool(found.get("status", {}).get("observedGeneration", 0) >= found["metadata"].get("generation", 0))
