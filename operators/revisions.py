"""The version of a service that served last, kept in a ControllerRevision as Kubernetes' own controllers keep theirs.

`reconcile.py` reads it to know what there is to go back to, and keeps another one when that serves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operators.api.base import API_VERSION
from operators.api.video_service import KIND
from operators.children.names import SERVICE, Owner
from operators.cluster import Cluster, Object

_API, _KIND = "apps/v1", "ControllerRevision"
_OF_NO_POD = ("rollout", "drain")
"""Nothing that serves is made by them."""


@dataclass(frozen=True)
class Revision:
    """A version, by the digest of its spec."""

    name: str
    spec: Mapping[str, Any]
    """As it was asked for, without `rollout` and `drain`."""
    number: int = 0
    """Greater than that of the one before it."""


def revision_of(owner: Owner, spec: Mapping[str, Any]) -> Revision:
    """Of a spec as the API server has it."""
    asked = {name: value for name, value in spec.items() if name not in _OF_NO_POD}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return Revision(f"{owner.name}-{digest[:10]}", asked)


def last(cluster: Cluster, owner: Owner) -> Revision | None:
    """The one that served last. Raises `ApiException`."""
    found = [Revision(one["metadata"]["name"], one["data"], one["revision"]) for one in _all(cluster, owner)]
    return max(found, key=lambda one: one.number, default=None)


def keep(cluster: Cluster, owner: Owner, revision: Revision) -> None:
    """This one serves now; others are not needed any more. Raises `ApiException`."""
    others = [one for one in _all(cluster, owner) if one["metadata"]["name"] != revision.name]
    reference = {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid}
    cluster.apply(
        {
            "apiVersion": _API,
            "kind": _KIND,
            "metadata": {
                "name": revision.name,
                "namespace": owner.namespace,
                "labels": owner.labels("revision"),
                "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
            },
            "data": dict(revision.spec),
            "revision": max((one["revision"] for one in others), default=0) + 1,
        }
    )
    for one in others:
        cluster.delete(one)


def _all(cluster: Cluster, owner: Owner) -> list[Object]:
    found = cluster.find(_API, _KIND, owner.namespace, f"{SERVICE}={owner.name}")
    return [
        one
        for one in found
        if any(reference["uid"] == owner.uid for reference in one["metadata"].get("ownerReferences") or ())
    ]
