"""How clients outside the cluster come to the front door: routes of the Gateway API, where the service asks for them.

Two hostnames, for a gateway refuses a GRPCRoute and an HTTPRoute of one (GEP-1426).
"""

from __future__ import annotations

from typing import Any

from operators.api.video_service import Gateway, Parent, Spec
from operators.children.names import FRONT_DOOR, GRPC_PORT, HTTP_PORT, Owner

API_VERSION = "gateway.networking.k8s.io/v1"
KINDS = ((API_VERSION, "GRPCRoute"), (API_VERSION, "HTTPRoute"))


def routes(owner: Owner, spec: Spec) -> list[dict[str, Any]]:
    """Both, or none."""
    gateway = spec.front_door.gateway
    if gateway is None:
        return []
    return [
        _route(owner, "GRPCRoute", gateway, gateway.grpc_hostname, GRPC_PORT),
        _route(owner, "HTTPRoute", gateway, gateway.http_hostname, HTTP_PORT),
    ]


def _route(owner: Owner, kind: str, gateway: Gateway, hostname: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": owner.name, "namespace": owner.namespace, "labels": owner.labels(FRONT_DOOR)},
        "spec": {
            "parentRefs": [_parent(parent) for parent in gateway.parents],
            "hostnames": [hostname],
            "rules": [{"backendRefs": [{"name": owner.name, "port": port}]}],
        },
    }


def _parent(parent: Parent) -> dict[str, str]:
    found = {"name": parent.name, "namespace": parent.namespace, "sectionName": parent.section_name}
    return {name: value for name, value in found.items() if value}
