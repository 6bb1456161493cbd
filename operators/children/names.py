"""Names, labels and ports of what belongs to a service, spelled once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

SERVICE = "longtake.dev/service"
"""Label of all children: the service's name. The controller wakes by it, and removes by it."""
BUILD = "longtake.dev/engine-build"
"""The same of what is made for an EngineBuild."""
MODEL = "longtake.dev/video-model"
"""And for a VideoModel."""
QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's label. Of a resource of ours it is handed on to what Kueue admits: Jobs, and the RayService."""
NAME, COMPONENT, MANAGER = "app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/managed-by"
APP, FIELD_MANAGER = "longtake", "longtake-operator"

FRONT_DOOR, DENOISE, LIGHT, HEAD = "frontdoor", "denoise", "light", "head"
"""The front door's component, the worker groups, and the head; what their pods offer to Ray is called so too."""
GRPC_PORT, HTTP_PORT = 50051, 8080
SERVE_HTTP_PORT, SERVE_GRPC_PORT = 8000, 9000
METRICS_PORT, DASHBOARD_PORT = 8080, 8265


@dataclass(frozen=True)
class Owner:
    """The service, the model or the build that children are made for."""

    name: str
    namespace: str
    uid: str
    queue: str = ""
    """Of Kueue, that admits its pods; empty where it has none."""

    @classmethod
    def of(cls, live: Mapping[str, Any]) -> Self:
        """As the API server has it."""
        metadata = live["metadata"]
        queue = (metadata.get("labels") or {}).get(QUEUE, "")
        return cls(metadata["name"], metadata["namespace"], metadata["uid"], queue)

    @property
    def queued(self) -> dict[str, str]:
        """The label by which Kueue admits its pods; empty without a queue."""
        return {QUEUE: self.queue} if self.queue else {}

    @property
    def ray(self) -> str:
        """The RayService."""
        return self.name

    @property
    def front_door(self) -> str:
        """The Deployment, and what stands around it."""
        return f"{self.name}-{FRONT_DOOR}"

    @property
    def director(self) -> str:
        """The Service by which front doors reach the Director."""
        return f"{self.name}-director"

    @property
    def job(self) -> str:
        """The Job of a build."""
        return f"{self.name}-build"

    @property
    def removal(self) -> str:
        """The Job that takes a model out of its store."""
        return f"{self.name}-remove"

    @property
    def drain(self) -> str:
        """The Job that waits for what runs, before the service goes."""
        return f"{self.name}-drain"

    def host(self, service: str) -> str:
        """A Service's name in the cluster's DNS."""
        return f"{service}.{self.namespace}.svc"

    def labels(self, component: str) -> dict[str, str]:
        """Of a child, and of its pods."""
        return {NAME: APP, COMPONENT: component, MANAGER: FIELD_MANAGER, SERVICE: self.name}

    def selector(self, component: str) -> dict[str, str]:
        """The labels by which pods are found; they never change."""
        return {NAME: APP, COMPONENT: component, SERVICE: self.name}
