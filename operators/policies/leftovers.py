"""What KubeRay holds on to though nobody needs it: pods of nodes that are away, and a cluster like the one that serves.

`reconcile.py` has it removed. KubeRay counts a pod for as long as there is an object of it, and for one on a node that
does not answer there is one until the node is back: no head and no worker would come in its place. And while a cluster
is to take over, KubeRay compares what is wanted with that one alone: a change that is taken back meanwhile makes it
build another cluster, though the one that serves is as it is wanted. Both were found with KubeRay 1.6.
"""

from __future__ import annotations

from datetime import datetime
from math import inf
from typing import Any

from operators.children.network import RAY_NODE_TYPE
from operators.policies.world import Object, World, labels

OVERDUE_S = 15.0
"""After its grace period: a node that answers has ended its pod by then. One that does not is still at work, maybe:
its Director finds its epoch lost, and its Denoisers their leases, before they write anything that counts."""
_HASH = "ray.io/hash-without-replicas-and-workers-to-delete"
"""KubeRay's annotation of a RayCluster: the digest of all that another cluster would be made for."""


def overdue(world: World) -> list[Object]:
    """Pods of Ray that should have ended."""
    return [pod for pod in world.pods if _ends_in_s(pod, world.now) <= 0]


def look_again_s(world: World) -> float:
    """Seconds until the next of its pods is overdue, if it does not end."""
    return min((left for left in (_ends_in_s(pod, world.now) for pod in world.pods) if left > 0), default=inf)


def needless_cluster(world: World) -> list[dict[str, Any]]:
    """A JSON patch of the RayService's status that takes the cluster out which is to take over, where it is as the one
    that serves; empty where it is not. KubeRay removes it then as it removes any old one."""
    if not world.replacing:
        return []
    hashes = {
        cluster["metadata"]["name"]: (cluster["metadata"].get("annotations") or {}).get(_HASH)
        for cluster in world.clusters
    }
    active, pending = (hashes.get(name) for name in (world.active_cluster, world.pending_cluster))
    if not active or active != pending:
        return []
    path = "/status/pendingServiceStatus"
    return [
        {"op": "test", "path": f"{path}/rayClusterName", "value": world.pending_cluster},
        {"op": "replace", "path": path, "value": {}},
    ]


def _ends_in_s(pod: Object, now: datetime) -> float:
    """Until it is overdue."""
    ends = pod["metadata"].get("deletionTimestamp")
    if not ends or RAY_NODE_TYPE not in labels(pod):
        return inf
    return (datetime.fromisoformat(ends) - now).total_seconds() + OVERDUE_S
