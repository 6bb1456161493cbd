"""One look at one service: read what is there, decide, make it so, tell how it is.

`controller.py` calls it whenever something may have changed, and now and then anyway. It remembers nothing that it
could not find again, so it may be killed at any point.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from math import inf

from kubernetes.client.exceptions import ApiException

from operators.api.base import API_VERSION
from operators.api.video_service import FINALIZER, KIND, VideoService
from operators.apply import Known, NameTaken, apply_all
from operators.change import Change
from operators.children.names import Owner
from operators.children.routes import API_VERSION as ROUTES
from operators.cluster import Cluster, Object
from operators.draining import LOOK_S, drained
from operators.finalizers import finalize
from operators.gather import gather
from operators.metrics import READY, TAKEN_BACK
from operators.policies import leftovers
from operators.policies.bounds import corrections
from operators.policies.state import Finding, conditions_of, moment
from operators.policies.world import World
from operators.status import status_of, write
from serving.errors import SettingsError

_NO_ROUTES = Finding(
    "GatewayApiMissing",
    f"spec.frontDoor.gateway: this cluster knows no GRPCRoute and HTTPRoute of {ROUTES}: install the Gateway API's "
    "CRDs, 1.1 or newer, and restart the operator; or leave the gateway out",
    failing=True,
)
_log = logging.getLogger("longtake.operator")
LASTING = (400, 403, 422)
"""Refusals that another try meets again: somebody must act, and then an event comes or the next look."""


def reconcile(cluster: Cluster, namespace: str, name: str, known: Known) -> float | None:
    """Seconds until it is to be looked at again though nothing happens; None where there is no such service. Raises
    `ApiException` for what may be over soon."""
    live = cluster.get(API_VERSION, KIND, namespace, name)
    if live is None or live["metadata"].get("deletionTimestamp"):
        READY.remove(namespace, name)
        TAKEN_BACK.remove(namespace, name)
    if live is None:
        return None
    service = VideoService.model_validate(live)
    owner = Owner.of(live)
    owns = FINALIZER in (live["metadata"].get("finalizers") or ())
    if live["metadata"].get("deletionTimestamp"):
        return _goes(cluster, owner, service, live) if owns else inf
    if owns != bool(service.spec.drain.timeout_seconds):
        finalize(cluster, KIND, owner, *(() if owns else (FINALIZER,)))
    generation = live["metadata"]["generation"]
    world = gather(cluster, owner, generation)
    change = Change(cluster, world, service, live["spec"])
    rollout = change.decided()
    wanted = partial(change.objects, rollout.state)
    writes, trouble = _make(cluster, world, wanted, known, oldest=change.versions.replaced(rollout.state))
    _clear(cluster, world)
    if writes:  # what is told is to be of what is wanted now, and not of what was there before
        world = gather(cluster, owner, generation)
    told = change.conditions(world, trouble, rollout)
    READY.labels(namespace, name).set(told[0].status == "True")
    TAKEN_BACK.labels(namespace, name).set(rollout.state == "RolledBack")
    after = status_of(world, change.versions.serving(rollout.state), told, rollout, change.redeploys)
    write(cluster, owner, live, service.status, after, moment(world.now))
    return min(change.look_again_s(rollout), leftovers.look_again_s(world))


def _goes(cluster: Cluster, owner: Owner, service: VideoService, live: Object) -> float:
    """One look at one that was deleted. Its children have it for their owner, and go with it."""
    now = datetime.now(UTC)
    try:
        deleted_at = live["metadata"]["deletionTimestamp"]
        waits = None if _in_foreground(live) else drained(cluster, owner, service.spec, deleted_at, now)
    except ApiException as error:  # of a namespace that goes, too: nothing is made in it any more
        if error.status not in LASTING:
            raise
        _log.warning("%s/%s goes at once: %s", owner.namespace, owner.name, told(error))
        waits = None
    if waits is None:
        finalize(cluster, KIND, owner)
        return inf
    before = service.status
    others = [one for one in before.conditions if one.type != "Progressing"]
    progressing = conditions_of(
        {"Progressing": (True, waits)}, before.conditions, generation=before.observed_generation, now=now
    )
    after = before.model_copy(update={"conditions": [*others, *progressing]})
    write(cluster, owner, live, before, after, moment(now))
    return LOOK_S


def _in_foreground(live: Object) -> bool:
    """Whether its children are deleted before it, by Kubernetes itself: then there is nothing left that could drain."""
    return "foregroundDeletion" in (live["metadata"].get("finalizers") or ())


def _make(
    cluster: Cluster, world: World, objects: Callable[[str], list[Object]], known: Known, *, oldest: bool
) -> tuple[int, Finding | None]:
    """Make the children as they are wanted: how many writes that took, and what keeps them from it where that stays.
    `oldest`: whether of pods that are too many the oldest go."""
    try:
        wanted = objects(world.active_cluster)
    except SettingsError as error:
        return 0, Finding("SettingsInvalid", error.message, failing=True)
    if not wanted:
        return 0, None
    makeable = wanted if world.routes else [child for child in wanted if child["apiVersion"] != ROUTES]
    try:
        writes = apply_all(cluster, world, makeable, known)
        _keep_bounds(cluster, world, wanted[0], oldest=oldest)
    except NameTaken as error:
        return 0, Finding("NameTaken", str(error), failing=True)
    except ApiException as error:
        if error.status in LASTING:
            return 0, Finding("ApplyRefused", told(error), failing=True)
        raise
    return writes, None if makeable == wanted else _NO_ROUTES


def _clear(cluster: Cluster, world: World) -> None:
    """Of what KubeRay made, remove what it holds on to."""
    for pod in leftovers.overdue(world):
        _log.warning("%s: its node does not end it: it is removed", pod["metadata"]["name"])
        cluster.delete(dict(pod), gracePeriodSeconds=0)
    if patch := leftovers.needless_cluster(world):
        _log.info("%s is as %s, which serves: it is not needed", world.pending_cluster, world.active_cluster)
        cluster.patch(dict(world.ray), patch, subresource="status")


def _keep_bounds(cluster: Cluster, world: World, ray: Object, *, oldest: bool) -> None:
    for ray_cluster in world.clusters:
        patch = corrections(ray, ray_cluster, world.pods, oldest=oldest)
        if patch and not ray_cluster["metadata"].get("deletionTimestamp"):
            cluster.patch(dict(ray_cluster), patch)


def told(error: ApiException) -> str:
    """What the API server said, without its headers."""
    return f"the API server answered {error.status}: {str(error.body)[:500]}"
