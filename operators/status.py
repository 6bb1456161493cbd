"""Write a resource's status when it is another one, and tell of transitions by an Event.

The Event comes first, under a name that is made of the transition: of the version of the resource that was looked at,
and of what is told from now on. So whoever is killed between the two finds at the next look that it was told of.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

from kubernetes.client.exceptions import ApiException

from operators.api.base import API_VERSION, Condition, Told
from operators.api.rollout import Redeploys, RolloutStatus
from operators.api.video_service import Endpoints, Spec, Status
from operators.children.frontdoor import public_url
from operators.children.names import FIELD_MANAGER, GRPC_PORT, Owner
from operators.cluster import Cluster, Object
from operators.policies.model_state import ENGINES_READY
from operators.policies.rollout import REASON as OVERDUE
from operators.policies.world import World

TOLD = ("Ready", ENGINES_READY)
"""Conditions whose changes are Events."""
_THERE = 409
"""The API server's answer to a name that there is."""
_REFUSED = (400, 403, 422)
_log = logging.getLogger("longtake.operator")


def status_of(
    world: World, spec: Spec, conditions: list[Condition], rollout: RolloutStatus, redeploys: Redeploys
) -> Status:
    """What is to be told of a service of which `spec` serves."""
    return Status(
        observed_generation=world.generation,
        conditions=conditions,
        model=spec.model,
        denoisers=world.denoisers,
        front_doors=world.doors,
        active_cluster=world.active_cluster,
        endpoints=Endpoints(
            grpc=f"{world.owner.host(world.owner.name)}:{GRPC_PORT}",
            http=public_url(world.owner, spec),
        ),
        rollout=rollout,
        redeploys=redeploys,
    )


def write(cluster: Cluster, owner: Owner, live: Object, before: Told, after: Told, now: str) -> bool:
    """Whether anything was written of this resource, which `before` was read of. Raises `ApiException`."""
    if before == after:
        return False
    for condition in _to_be_told(before, after):
        _tell(cluster, owner, _event(live, condition, now))
    cluster.apply(
        {
            "apiVersion": API_VERSION,
            "kind": live["kind"],
            "metadata": {"name": owner.name, "namespace": owner.namespace},
            "status": after.model_dump(by_alias=True, exclude_none=True),
        },
        subresource="status",
    )
    return True


def _to_be_told(before: Told, after: Told) -> Iterator[Condition]:
    old = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        was = old.get(condition.type)
        changed = was is None or (was.status, was.reason) != (condition.status, condition.reason)
        if changed and (condition.type in TOLD or (condition.type, condition.reason) == ("Progressing", OVERDUE)):
            yield condition


def _tell(cluster: Cluster, owner: Owner, event: dict[str, Any]) -> None:
    try:
        cluster.create(event)
    except ApiException as error:
        if error.status == _THERE:
            return
        if error.status not in _REFUSED:
            raise
        # As in a namespace that goes: the status matters more.
        _log.warning("%s/%s: no Event %s: %s", owner.namespace, owner.name, event["reason"], error.reason)


def _event(live: Object, condition: Condition, now: str) -> dict[str, Any]:
    metadata = live["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    transition = (metadata["uid"], metadata["resourceVersion"], condition.type, condition.status, condition.reason)
    digest = hashlib.sha256("\n".join(transition).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{digest}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": live["kind"],
            "name": name,
            "namespace": namespace,
            "uid": metadata["uid"],
        },
        "type": "Normal" if condition.status == "True" else "Warning",
        "reason": condition.reason,
        "message": condition.message or condition.reason,
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
