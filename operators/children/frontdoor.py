"""The front door: its Deployment and Service, and what keeps enough of its pods."""

from __future__ import annotations

import json
from typing import Any

from operators.api.video_service import Spec
from operators.children.names import FRONT_DOOR, GRPC_PORT, HTTP_PORT, SERVE_GRPC_PORT, Owner
from operators.children.pods import container, environment, serving, spread, trusted_volume
from serving.settings import Settings

_KEYS, _TLS = "/etc/longtake/keys", "/etc/longtake/tls"
_CONNECTION_S, _LEARNT_S = 15, 5
_PRE_STOP_S = _LEARNT_S + 17
"""A pod that ends takes calls for so long still: proxies learn late that it is none of them any more, and then each
connection comes to its age, which gRPC makes a tenth longer for some. A call that finds a server stopping is lost.
"""
_SPARE_S = 5
_GROUPS = ("admission", "uploads", "video", "engines", "retention", "models")
"""Settings that a front door reads, but for those that the resource has fields for."""


def front_door(owner: Owner, spec: Spec, settings: Settings) -> list[dict[str, Any]]:
    """All its objects."""
    objects = [_service(owner, spec), _deployment(owner, spec, settings), _disruption(owner)]
    return [*objects, _autoscaler(owner, spec)] if _scaled(spec) else objects


def public_url(owner: Owner, spec: Spec) -> str:
    """What URLs of videos begin with."""
    return spec.front_door.public_url or f"http://{owner.host(owner.name)}:{HTTP_PORT}"


def _scaled(spec: Spec) -> bool:
    return spec.front_door.min_replicas != spec.front_door.max_replicas


def _deployment(owner: Owner, spec: Spec, settings: Settings) -> dict[str, Any]:
    labels = owner.labels(FRONT_DOOR)
    wanted: dict[str, Any] = {
        "selector": {"matchLabels": owner.selector(FRONT_DOOR)},
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": labels}, "spec": _pod(owner, spec, settings)},
    }
    if not _scaled(spec):  # else the autoscaler's, and nobody else's
        wanted["replicas"] = spec.front_door.min_replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": owner.front_door, "namespace": owner.namespace, "labels": labels},
        "spec": wanted,
    }


def _pod(owner: Owner, spec: Spec, settings: Settings) -> dict[str, Any]:
    door = spec.front_door
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "keys", "mountPath": _KEYS, "readOnly": True}]  # noqa: S108
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "keys", "secret": {"secretName": door.keys_secret, "defaultMode": 0o440}},
    ]
    if door.tls:
        mounts.append({"name": "tls", "mountPath": _TLS, "readOnly": True})
        volumes.append({"name": "tls", "secret": {"secretName": door.tls.existing_secret, "defaultMode": 0o440}})
    more_volumes, more_mounts = trusted_volume(spec)
    live = {"httpGet": {"path": "/healthz", "port": "http"}}
    process = {
        **container(FRONT_DOOR, spec, door.resources),
        "command": ["python3", "-m", "serving.frontdoor"],
        "env": environment(spec, **_settings(owner, spec, settings), **spec.traces),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # why it does not start is its last line
        "ports": [{"name": "grpc", "containerPort": GRPC_PORT}, {"name": "http", "containerPort": HTTP_PORT}],
        "startupProbe": {**live, "periodSeconds": 2, "failureThreshold": 60},
        # Not `/readyz`, which asks the store: while that is away, clients are to hear so and when to come back.
        "readinessProbe": {**live, "periodSeconds": 5, "timeoutSeconds": 5},
        "livenessProbe": {**live, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP_S}}},
        "volumeMounts": [*mounts, *more_mounts],
    }
    return {
        **serving(spec, door, door.resources),
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _PRE_STOP_S + door.drain_seconds + _SPARE_S,
        "topologySpreadConstraints": spread(owner, FRONT_DOOR),
        "containers": [process],
        "volumes": [*volumes, *more_volumes],
    }


def _settings(owner: Owner, spec: Spec, settings: Settings) -> dict[str, str]:
    """As variables of the environment."""
    variables = {
        "LONGTAKE_STORE": spec.store.url,
        "LONGTAKE_MODEL": spec.model,
        "LONGTAKE_GRPC__ADDRESS": f"0.0.0.0:{GRPC_PORT}",
        "LONGTAKE_GRPC__GRACE_S": str(spec.front_door.drain_seconds),
        "LONGTAKE_GRPC__CONNECTION_S": str(_CONNECTION_S),
        "LONGTAKE_HTTP__ADDRESS": f"0.0.0.0:{HTTP_PORT}",
        "LONGTAKE_HTTP__PUBLIC_URL": public_url(owner, spec),
        "LONGTAKE_AUTH__KEYS_FILE": f"{_KEYS}/keys.jsonl",
        "LONGTAKE_DIRECTOR__ADDRESS": f"{owner.host(owner.director)}:{SERVE_GRPC_PORT}",
    }
    if spec.front_door.tls:
        variables |= {"LONGTAKE_GRPC__TLS_CERT": f"{_TLS}/tls.crt", "LONGTAKE_GRPC__TLS_KEY": f"{_TLS}/tls.key"}
    dump = settings.model_dump(mode="json", exclude_unset=True, include=set(_GROUPS))
    # By how many there are, front doors tell when a job will start, and refuse deadlines that cannot be met.
    dump["stages"] = settings.stages.model_dump(mode="json", include={"replicas", "scale", "slots"})
    return variables | {f"LONGTAKE_{name.upper()}": json.dumps(group) for name, group in sorted(dump.items())}


def _service(owner: Owner, spec: Spec) -> dict[str, Any]:
    """What clients connect to. A connection stays at one pod: balance calls with a gateway that speaks HTTP/2."""
    grpc: dict[str, Any] = {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc"}
    ports = [
        grpc if spec.front_door.tls else {**grpc, "appProtocol": "kubernetes.io/h2c"},
        {"name": "http", "port": HTTP_PORT, "targetPort": "http", "appProtocol": "http"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": owner.name, "namespace": owner.namespace, "labels": owner.labels(FRONT_DOOR)},
        "spec": {"selector": owner.selector(FRONT_DOOR), "ports": ports},
    }


def _disruption(owner: Owner) -> dict[str, Any]:
    """One pod may go at a time; one that is not ready may always."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": owner.front_door, "namespace": owner.namespace, "labels": owner.labels(FRONT_DOOR)},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": owner.selector(FRONT_DOOR)},
        },
    }


def _autoscaler(owner: Owner, spec: Spec) -> dict[str, Any]:
    """On CPU, which is what calls cost."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": owner.front_door, "namespace": owner.namespace, "labels": owner.labels(FRONT_DOOR)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": owner.front_door},
            "minReplicas": spec.front_door.min_replicas,
            "maxReplicas": spec.front_door.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                }
            ],
        },
    }
