"""How a service is: checks in order, the first that finds something says why it is not ready.

RayService's own `Ready` says that some endpoint exists, and its statuses stay when Ray does not answer any more; so
what counts is the application, each deployment, and pods.

    Ready        True: videos are taken and made
    Progressing  True: something is being brought about, and comes by itself
    Degraded     True: something fails, and stays so until somebody acts or a fault goes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from operators.api.base import Condition
from operators.api.video_service import Status
from operators.policies.words import last_line, last_words, short
from operators.policies.world import Object, World, settled

_FAILING = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
"""Why a container waits for somebody to act."""
PATIENCE_S = 180
"""Seconds that a node may take to come, and a pod to have its volumes and its image."""


@dataclass(frozen=True)
class Finding:
    """Why a service is not ready."""

    reason: str
    message: str
    failing: bool = False
    """True: waiting does not mend it."""


Checks = tuple[Callable[[World], Iterator[Finding]], ...]


def conditions(
    world: World,
    trouble: Finding | None,
    before: Status,
    *,
    held: Finding | None = None,
    going: Finding | None = None,
    late: Finding | None = None,
) -> list[Condition]:
    """All conditions. `trouble` is what kept the children from being applied, `held` what a change waits for before it
    is made, `going` how far it is since, and `late` what became of one that did not get ready."""
    served = any((found.type, found.status) == ("Ready", "True") for found in before.conditions)
    lacks = next(_found(_SERVING, replace(world, served=served)), None)
    fails = trouble or next(_found(_HEALTHY, world), None)
    if fails is None:
        fails = next((found for found in (held, lacks, late) if found is not None and found.failing), None)
    if lacks is not None and held is not None and not world.ray:
        lacks = held
    waits = lacks if lacks is not None and fails is None else None
    coming = held or next(_found(_COMING, world), going)
    told = {
        "Ready": (
            lacks is None,
            fails if lacks and fails else lacks or Finding("Serving", "videos are taken and made"),
        ),
        "Progressing": (
            fails is None and (waits or coming) is not None,
            late or waits or coming or Finding("Settled", ""),
        ),
        "Degraded": (fails is not None, fails or Finding("AsExpected", "")),
    }
    return conditions_of(told, before.conditions, generation=world.generation, now=world.now)


def lacking(world: World, *, doors: bool, stages: bool = True) -> Finding | None:
    """What a change under way lacks: stages of all its models, and with `doors` front doors of its own, too. Without
    `stages` it is one of front doors alone: whatever becomes of the stages is not its doing."""
    if not stages:
        return next(_found(_CHANGED_DOORS_ALONE, world), None)
    whole = replace(world, fresh=frozenset())
    missing = next(_found(_CHANGED_DOORS if doors else _CHANGED_STAGES, whole), None)
    return missing and (next(_found(_HEALTHY, whole), None) or missing)


def conditions_of(
    told: Mapping[str, tuple[bool, Finding]], before: Sequence[Condition], *, generation: int, now: datetime
) -> list[Condition]:
    """Conditions by type: whether it is so, and why. One that says the same as before has not changed since."""
    since = {found.type: (found.status, found.last_transition_time) for found in before}
    made = []
    for name, (true, why) in told.items():
        status = "True" if true else "False"
        old, changed = since.get(name, ("", ""))
        made.append(
            Condition(
                type=name,
                status=status,
                reason=why.reason,
                message=why.message,
                observed_generation=generation,
                last_transition_time=changed if old == status else moment(now),
            )
        )
    return made


def moment(now: datetime) -> str:
    """As Kubernetes writes times."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _found(checks: Checks, world: World) -> Iterator[Finding]:
    for check in checks:
        yield from check(world)


def _kuberay(world: World) -> Iterator[Finding]:
    if not world.kuberay:
        yield Finding(
            "KubeRayMissing",
            "this cluster knows no ray.io/v1 RayService: install the KubeRay operator, 1.6 or newer",
            True,
        )


def _ray_refused(world: World) -> Iterator[Finding]:
    for found in world.ray.get("status", {}).get("conditions") or ():
        if found["type"] == "Ready" and found.get("reason") == "ValidationFailed":
            yield Finding("RayServiceInvalid", f"KubeRay refuses the RayService: {short(found.get('message'))}", True)


def _pods(world: World) -> Iterator[Finding]:
    for pod in world.pods:
        why = "" if pod["metadata"].get("deletionTimestamp") else why_not(pod, world.now)
        if why:
            yield Finding("PodsFailing", f"pod {pod['metadata']['name']}: {why}", True)


def why_not(pod: Object, now: datetime) -> str:
    """What a pod waits for that does not come by itself."""
    status = pod.get("status", {})
    made = datetime.fromisoformat(pod["metadata"].get("creationTimestamp") or now.isoformat())
    old = (now - made).total_seconds() > PATIENCE_S
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") == "ContainerCreating" and old:
            return (
                "it waits for its volumes: is there each Secret that the service names? `kubectl describe` tells more"
            )
        ended = last_words((container.get("lastState") or {}).get("terminated") or {})
        if waiting.get("reason") == "CrashLoopBackOff" and ended:
            return f"{container['name']} ends at each start: {ended}"
        if waiting.get("reason") in _FAILING:
            return f"{container['name']}: {waiting['reason']}: {short(waiting.get('message'))}"
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable" and old:
            return f"no node takes it: {short(condition.get('message'))}"
    return ""


def _stages(world: World) -> Iterator[Finding]:
    applications = sorted((name, one) for name, one in world.applications.items() if name not in world.fresh)
    for name, application in applications:
        yield from _failing(name, application)
    if not applications and (world.replacing or world.served):
        # KubeRay does not ask the cluster that serves while another one is about to take over, and when that is not
        # needed any more it does only after a while: pods tell.
        return
    starting = [_starting(name, one) for name, one in applications if one.get("status") != "RUNNING"]
    if starting:
        yield Finding("StagesStarting", "; ".join(starting))
    elif not applications:
        yield Finding("StagesStarting", "Ray's applications are not there yet")


def _starting(name: str, application: Object) -> str:
    """What it is at; and the first thing that a stage of it met, though Ray tries again."""
    said = (application.get("serveDeploymentStatuses") or {}).items()
    met = next((f" ({stage}: {last_line(one['message'])})" for stage, one in sorted(said) if one.get("message")), "")
    return f"Ray's application {name} is {application.get('status') or 'not there yet'}{met}"


def _failing(name: str, application: Object) -> Iterator[Finding]:
    for stage, deployment in sorted((application.get("serveDeploymentStatuses") or {}).items()):
        if deployment.get("status") in ("UNHEALTHY", "DEPLOY_FAILED"):
            said = last_line(deployment.get("message")) or "no reason is told"
            yield Finding("StagesFailing", f"{stage} of {name}: {said}", True)
    if application.get("status") in ("DEPLOY_FAILED", "UNHEALTHY"):
        said = last_line(application.get("message")) or "no reason is told"
        yield Finding("StagesFailing", f"{name}: {said}", True)


def _change(world: World) -> Iterator[Finding]:
    """Stages that a change brings, and that fail while others serve."""
    fresh = {name: one for name, one in world.applications.items() if name in world.fresh}
    for name, application in sorted((fresh | dict(world.pending_applications)).items()):
        yield from _failing(name, application)


def _fresh(world: World) -> Iterator[Finding]:
    for name in sorted(world.fresh):
        application = world.applications.get(name, {})
        if application.get("status") != "RUNNING":
            yield Finding("StagesStarting", _starting(name, application))


def _head(world: World) -> Iterator[Finding]:
    """The applications' status stays as it was when the head has gone, and until KubeRay hears of the next one."""
    if not world.ready_heads:
        yield Finding("HeadAway", "no head of the active RayCluster is ready: KubeRay starts another one")
    elif not world.serving_heads:
        yield Finding("StagesStarting", "Ray's head is a new one, and its applications are not there yet")


def _doors(world: World) -> Iterator[Finding]:
    if not world.doors:
        yield Finding("FrontDoorStarting", "no pod of the front door is ready")


def _new_cluster(world: World) -> Iterator[Finding]:
    if world.replacing:
        yield Finding("NewClusterStarts", f"RayCluster {world.pending_cluster} is to take over")


def _unseen(world: World) -> Iterator[Finding]:
    """A change that was made a moment ago: what is told of it is of before."""
    yield from _unsettled(world.ray)
    yield from _unseen_doors(world)


def _unseen_doors(world: World) -> Iterator[Finding]:
    yield from _unsettled(world.door)


def _unsettled(child: Object | None) -> Iterator[Finding]:
    if child and not settled(child):
        yield Finding("ChangeMade", f"{child['kind']} {child['metadata']['name']} is about to be as it is wanted")


def _rolling(world: World) -> Iterator[Finding]:
    if world.doors_as_wanted < world.doors_there:
        yield Finding(
            "FrontDoorsRoll", f"{world.doors_as_wanted} of {world.doors_there} pods of the front door are as wanted"
        )


_SERVING: Checks = (_kuberay, _stages, _head, _doors)
"""Without these, no video is made."""
_COMING: Checks = (_new_cluster, _fresh, _unseen, _rolling)
"""What goes on though all is served."""
_HEALTHY: Checks = (_ray_refused, _pods, _change)
"""What is wrong though videos may be made: a pod too few, a change that cannot be made."""
_CHANGED_STAGES: Checks = (_kuberay, _stages, _head, _new_cluster, _unseen)
_CHANGED_DOORS: Checks = (*_CHANGED_STAGES, _doors, _rolling)
_CHANGED_DOORS_ALONE: Checks = (_unseen_doors, _doors, _rolling)
"""Without these, a change has not come so far."""
