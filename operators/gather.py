"""Read all that there is of one service. `controller.py` calls it; `policies` decide by what it finds."""

from __future__ import annotations

from datetime import UTC, datetime

from operators.children.desired import KINDS
from operators.children.names import SERVICE, Owner
from operators.children.routes import KINDS as ROUTES
from operators.cluster import Cluster, KindMissing, Object
from operators.policies.world import World

OF_RAY_SERVICE = "ray.io/originated-from-cr-name"
"""KubeRay's label of what it makes."""


def gather(cluster: Cluster, owner: Owner, generation: int) -> World:
    """One list for each kind. Raises `ApiException`."""
    ours = f"{SERVICE}={owner.name}"
    children: dict[tuple[str, str], Object] = {}
    kuberay = True
    for api_version, kind in (*KINDS, *(ROUTES if cluster.routes else ())):
        try:
            found = cluster.find(api_version, kind, owner.namespace, ours)
        except KindMissing:
            if kind != "RayService":
                raise
            kuberay = False
            continue
        children |= {(kind, child["metadata"]["name"]): child for child in found if _owned(child, owner)}
    clusters = (
        cluster.find("ray.io/v1", "RayCluster", owner.namespace, f"{OF_RAY_SERVICE}={owner.ray}") if kuberay else []
    )
    pods = cluster.find("v1", "Pod", owner.namespace, ours)
    return World(
        owner,
        generation,
        children,
        tuple(clusters),
        tuple(pods),
        datetime.now(UTC),
        kuberay,
        cluster.routes,
    )


def _owned(child: Object, owner: Owner) -> bool:
    """Whether it is this service's, and not what a former one of the same name left."""
    owners = child["metadata"].get("ownerReferences") or ()
    return any(reference["uid"] == owner.uid for reference in owners)
