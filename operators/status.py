"""Write a service's status when it is another one, and tell of transitions by an Event."""

from __future__ import annotations

import secrets
from typing import Any

from operators.api.base import API_VERSION, Condition
from operators.api.engine_build import Status as BuildStatus
from operators.api.rollout import Redeploys, RolloutStatus
from operators.api.video_model import Status as ModelStatus
from operators.api.video_service import Endpoints, Spec, Status
from operators.children.frontdoor import public_url
from operators.children.names import FIELD_MANAGER, GRPC_PORT, Owner
from operators.cluster import Cluster
from operators.policies.model_state import ENGINES_READY
from operators.policies.rollout import REASON as OVERDUE
from operators.policies.world import World

Told = Status | BuildStatus | ModelStatus
TOLD = ("Ready", ENGINES_READY)
"""Conditions whose changes are Events."""


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


def write(cluster: Cluster, kind: str, owner: Owner, before: Told, after: Told, now: str) -> bool:
    """Whether anything was written. Raises `ApiException`."""
    if before == after:
        return False
    cluster.apply(
        {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": owner.name, "namespace": owner.namespace},
            "status": after.model_dump(by_alias=True, exclude_none=True),
        },
        subresource="status",
    )
    old = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        was = old.get(condition.type)
        changed = was is None or (was.status, was.reason) != (condition.status, condition.reason)
        if changed and (condition.type in TOLD or (condition.type, condition.reason) == ("Progressing", OVERDUE)):
            cluster.create(_event(kind, owner, condition, now))
    return True


def _event(kind: str, owner: Owner, condition: Condition, now: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{owner.name}.{secrets.token_hex(8)}", "namespace": owner.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": kind,
            "name": owner.name,
            "namespace": owner.namespace,
            "uid": owner.uid,
        },
        "type": "Normal" if condition.status == "True" else "Warning",
        "reason": condition.reason,
        "message": condition.message or condition.reason,
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
