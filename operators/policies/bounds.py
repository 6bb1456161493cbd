"""Least and most pods of the RayClusters that run.

KubeRay copies a RayService's bounds into a RayCluster when it makes it, and never again (kuberay issue 4568): so they
are patched there. Where there are to be fewer pods and Ray's autoscaler does not choose, KubeRay removes any: so they
are named, lest it be the one that serves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from operators.policies.world import Object, is_ready, labels

_CLUSTER, _GROUP = "ray.io/cluster", "ray.io/group"
"""KubeRay's labels of a pod."""


def corrections(
    service: Object, cluster: Object, pods: Iterable[Object] = (), *, oldest: bool = False
) -> list[dict[str, Any]]:
    """A JSON patch (RFC 6902) for the cluster; empty where its bounds are the wanted ones.

    `service` is the RayService as it is applied. Each group's name is tested, for its place may have changed meanwhile.
    Of `pods` that are too many those go that are not ready, then the newest, or with `oldest` the oldest.
    """
    wanted = {group["groupName"]: group for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    patch: list[dict[str, Any]] = []
    for place, group in enumerate(cluster.get("spec", {}).get("workerGroupSpecs") or ()):
        bounds = wanted.get(group["groupName"])
        if bounds is None:
            continue
        path = f"/spec/workerGroupSpecs/{place}"
        changes = [
            {"op": "add", "path": f"{path}/{name}", "value": bounds[name]}
            for name in ("minReplicas", "maxReplicas")
            if group.get(name) != bounds[name]
        ]
        replicas = group.get("replicas", 0)
        within = min(max(replicas, bounds["minReplicas"]), bounds["maxReplicas"])
        if within != replicas:
            changes.append({"op": "add", "path": f"{path}/replicas", "value": within})
        if within < replicas and not cluster["spec"].get("enableInTreeAutoscaling"):
            named = {_CLUSTER: cluster["metadata"]["name"], _GROUP: group["groupName"]}
            there = [pod for pod in pods if named.items() <= labels(pod).items()]
            going = {"workersToDelete": _going(there, within, oldest=oldest)}
            changes.append({"op": "add", "path": f"{path}/scaleStrategy", "value": going})
        if changes:
            patch += [{"op": "test", "path": f"{path}/groupName", "value": group["groupName"]}, *changes]
    return patch


def _going(pods: Iterable[Object], kept: int, *, oldest: bool) -> list[str]:
    """Names of those that are too many, the first to go first."""
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    by_age = sorted(alive, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=not oldest)
    return [str(pod["metadata"]["name"]) for pod in sorted(by_age, key=is_ready)][: max(0, len(alive) - kept)]
