"""How parts reach each other: the Service in front of the Director, and who may connect to whom."""

from __future__ import annotations

from typing import Any

from operators.children.names import (
    COMPONENT,
    FRONT_DOOR,
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    SERVE_GRPC_PORT,
    SERVICE,
    Owner,
)

RAY_CLUSTER, RAY_NODE_TYPE = "ray.io/cluster", "ray.io/node-type"
"""Labels that KubeRay gives pods."""
RAY_SERVES = "ray.io/serve"
"""And one that says `true` of a head whose Serve answers KubeRay: never yet of one that has just come."""
_KUBERAY_PORTS = (8000, 8265, 52365)
"""At which KubeRay asks a cluster how it is."""


def director_service(owner: Owner, cluster: str) -> dict[str, Any]:
    """In front of the head of this cluster. KubeRay's own also leads to workers, where nobody listens at that port."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": owner.director, "namespace": owner.namespace, "labels": owner.labels("director")},
        "spec": {
            "selector": {RAY_CLUSTER: cluster, RAY_NODE_TYPE: "head"},
            "ports": [
                {
                    "name": "grpc",
                    "port": SERVE_GRPC_PORT,
                    "targetPort": SERVE_GRPC_PORT,
                    "appProtocol": "kubernetes.io/h2c",
                }
            ],
        },
    }


def policies(owner: Owner) -> list[dict[str, Any]]:
    """Everybody may call a front door; Ray's pods hear each other, front doors, KubeRay, and whoever reads metrics."""
    ray = {"matchLabels": {SERVICE: owner.name}, "matchExpressions": [{"key": RAY_CLUSTER, "operator": "Exists"}]}
    doors = {"podSelector": {"matchLabels": owner.selector(FRONT_DOOR)}}
    return [
        _policy(owner, FRONT_DOOR, {"matchLabels": owner.selector(FRONT_DOOR)}, [_to(GRPC_PORT, HTTP_PORT)]),
        _policy(
            owner,
            "ray",
            ray,
            [
                {"from": [{"podSelector": ray}]},
                {"from": [doors], **_to(SERVE_GRPC_PORT)},
                {
                    "from": [
                        {"namespaceSelector": {}, "podSelector": {"matchLabels": {COMPONENT: "kuberay-operator"}}}
                    ],
                    **_to(*_KUBERAY_PORTS),
                },
                _to(METRICS_PORT),
            ],
        ),
    ]


def _to(*ports: int) -> dict[str, Any]:
    return {"ports": [{"protocol": "TCP", "port": port} for port in ports]}


def _policy(owner: Owner, component: str, pods: dict[str, Any], ingress: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": f"{owner.name}-{component}",
            "namespace": owner.namespace,
            "labels": owner.labels(component),
        },
        "spec": {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": ingress},
    }
