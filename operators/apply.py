"""Make the children as they are wanted, and write nothing where they are.

What the server answers differs from what was sent (`1000m` becomes `1`, defaults are filled in), so comparing the two
never ends. Instead a child carries the digest of what was applied, and what the server made of it is kept in memory:
when both still hold, nobody has changed it. After a restart each child is applied once more, which changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from operators.children.names import SERVICE
from operators.cluster import SCALE_MANAGER, Cluster, KindMissing, Object
from operators.policies.world import World

APPLIED = "longtake.dev/applied"
"""Annotation of a child: the digest of what was applied."""

Known = dict[str, str]
"""Of each child by uid: the digest of what the server made of it."""


class NameTaken(Exception):
    """An object of a child's name is somebody else's: it is left as it is."""


def apply_all(cluster: Cluster, world: World, wanted: list[Object], known: Known) -> int:
    """Apply what differs and remove what is not wanted; how many writes that took. Raises `ApiException`."""
    writes = 0
    for child in wanted:
        live = world.children.get((child["kind"], child["metadata"]["name"]))
        digest = _digest(child)
        if live is not None and _is_so(live, digest, known):
            continue
        annotated = {**child, "metadata": {**child["metadata"], "annotations": {APPLIED: digest}}}
        try:
            if live is None:
                _is_free(cluster, child)
            elif "replicas" in live["spec"] and "replicas" not in child["spec"]:
                _hand_over(cluster, child, live["spec"]["replicas"])
            made = cluster.apply(annotated)
        except KindMissing:
            if child["kind"] != "RayService":
                raise
            continue  # told by a condition
        known[made["metadata"]["uid"]] = _made_of(made)
        writes += 1
    names = {(child["kind"], child["metadata"]["name"]) for child in wanted}
    for name, live in world.children.items():
        # The Director's Service stays while no cluster is known: the next one is put behind it.
        if name not in names and name[1] != world.owner.director and not live["metadata"].get("deletionTimestamp"):
            cluster.delete(dict(live))
            known.pop(live["metadata"]["uid"], None)
            writes += 1
    return writes


def applied(world: World, wanted: list[Object]) -> bool:
    """Whether all of these were applied, be it that others changed them since."""
    live = [world.children.get((child["kind"], child["metadata"]["name"])) for child in wanted]
    return all(
        found is not None and (found["metadata"].get("annotations") or {}).get(APPLIED) == _digest(child)
        for found, child in zip(live, wanted, strict=True)
    )


def _is_free(cluster: Cluster, child: Object) -> None:
    """Raises `NameTaken` where there is an object of this name that was not made for a service of this name."""
    metadata = child["metadata"]
    found = cluster.get(child["apiVersion"], child["kind"], metadata["namespace"], metadata["name"])
    if found is None:
        return
    ours = (found["metadata"].get("labels") or {}).get(SERVICE) == metadata["labels"][SERVICE]
    if not ours or APPLIED not in (found["metadata"].get("annotations") or {}):
        raise NameTaken(
            f"there is a {child['kind']} {metadata['name']} already, and it is not this service's: remove it, or give "
            "the VideoService another name"
        )


def _hand_over(cluster: Cluster, child: Object, replicas: int) -> None:
    """Keep a number that an autoscaler is to decide from now on: what nobody owns goes back to 1."""
    name = {key: child["metadata"][key] for key in ("name", "namespace")}
    kept = {"apiVersion": child["apiVersion"], "kind": child["kind"], "metadata": name, "spec": {"replicas": replicas}}
    cluster.apply(kept, manager=SCALE_MANAGER)


def _is_so(live: Any, digest: str, known: Known) -> bool:
    annotated = (live["metadata"].get("annotations") or {}).get(APPLIED)
    return bool(annotated == digest and known.get(live["metadata"]["uid"]) == _made_of(live))


def _made_of(live: Any) -> str:
    """The digest of all that somebody might set; not of the status, nor of the server's own books."""
    metadata = {name: live["metadata"].get(name) for name in ("labels", "annotations", "ownerReferences")}
    return _digest({"metadata": metadata, "spec": live.get("spec")})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
