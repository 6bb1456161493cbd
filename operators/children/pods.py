"""What all pods have in common: they run as nobody in particular, write to /tmp alone, and know the store's keys."""

from __future__ import annotations

from typing import Any

from operators.api.base import Placement, Resources
from operators.api.common import Grounds
from operators.children.names import Owner

_USER = 10_001
_TRUSTED = "/etc/longtake/engines"
_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_AWAY_S = 30
"""Seconds that a node may be away before its pods are replaced; Kubernetes' own default is 300. The work of such a pod
goes on elsewhere by then, and one that comes back later is of no use to Ray."""


def pod_security() -> dict[str, Any]:
    """As the Pod Security Standard `restricted` wants it."""
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Nothing that a process of ours needs."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def container(name: str, spec: Grounds, resources: Resources) -> dict[str, Any]:
    """A container of the service's image."""
    return {
        "name": name,
        "image": spec.image.name,
        "imagePullPolicy": spec.image.pull_policy,
        "securityContext": container_security(),
        "resources": _amounts(resources),
    }


def _amounts(resources: Resources) -> dict[str, Any]:
    found = resources.model_dump(include={"requests", "limits"})
    found["claims"] = [{"name": claim["name"]} for claim in _claims(resources)]
    return {kind: amounts for kind, amounts in found.items() if amounts}


def _claims(resources: Resources) -> list[dict[str, str]]:
    """As the pod has them: named by their place, for a template's name may be longer than a claim's."""
    return [
        {"name": f"devices-{place}", "resourceClaimTemplateName": claim.template}
        for place, claim in enumerate(resources.claims)
    ]


def environment(spec: Grounds, **more: str) -> list[dict[str, Any]]:
    """Variables of every container, the store's keys among them, and others."""
    keys = spec.store.credentials
    named = {
        "LONGTAKE_S3_ACCESS_KEY": keys.access_key,
        "LONGTAKE_S3_SECRET_KEY": keys.secret_key,
    }
    return [
        {"name": "HOME", "value": "/tmp"},  # the only place that can be written  # noqa: S108
        *({"name": name, "value": value} for name, value in more.items()),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": keys.existing_secret, "key": key}}}
            for name, key in named.items()
        ),
    ]


def placed(spec: Grounds, placement: Placement, resources: Resources) -> dict[str, Any]:
    """The part of a pod's spec that says where it may run, with which devices and with whose pull secrets."""
    where: dict[str, Any] = {"securityContext": pod_security()}
    if placement.node_selector:
        where["nodeSelector"] = placement.node_selector
    if placement.tolerations:
        where["tolerations"] = placement.tolerations
    if resources.claims:
        where["resourceClaims"] = _claims(resources)
    if spec.image.pull_secrets:
        where["imagePullSecrets"] = [{"name": name} for name in spec.image.pull_secrets]
    return where


def serving(spec: Grounds, placement: Placement, resources: Resources) -> dict[str, Any]:
    """The same of a pod that serves: others take its place soon where its node goes away, but for what the user
    tolerates for another time."""
    own = placement.tolerations
    soon = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _AWAY_S}
        for key in _AWAY
        if not any((one.get("key") or key, one.get("effect") or "NoExecute") == (key, "NoExecute") for one in own)
    ]
    return {**placed(spec, placement, resources), "tolerations": [*own, *soon]}


def spread(owner: Owner, component: str) -> list[dict[str, Any]]:
    """Over nodes, as far as that can be: one that goes away is not to take all."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": owner.selector(component)},
        }
    ]


def trusted_keys(spec: Grounds) -> str:
    """The file with the keys that may sign engines, in every pod that loads some; empty without any."""
    return f"{_TRUSTED}/{spec.trusted_keys.key}" if spec.trusted_keys else ""


def trusted_volume(spec: Grounds) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What brings that file into a pod, and into its container: volumes and mounts."""
    if spec.trusted_keys is None:
        return [], []
    source = {"name": spec.trusted_keys.config_map, "defaultMode": 0o444}  # only its owner, root, may write it
    mount = {"name": "engine-keys", "mountPath": _TRUSTED, "readOnly": True}
    return [{"name": "engine-keys", "configMap": source}], [mount]
