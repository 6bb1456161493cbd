"""Least and most pods of the RayClusters that run.

KubeRay copies a RayService's bounds into a RayCluster when it makes it, and never again (kuberay issue 4568): so they
are patched there.
"""

from __future__ import annotations

from typing import Any

from operators.policies.world import Object


def corrections(service: Object, cluster: Object) -> list[dict[str, Any]]:
    """A JSON patch (RFC 6902) for the cluster; empty where its bounds are the wanted ones.

    `service` is the RayService as it is applied. Each group's name is tested, for its place may have changed meanwhile.
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
        if changes:
            patch += [{"op": "test", "path": f"{path}/groupName", "value": group["groupName"]}, *changes]
    return patch
