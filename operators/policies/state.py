"""How a service is: checks in order, the first that finds something says why it is not ready.

RayService's own `Ready` says that some endpoint exists, and its statuses stay when Ray does not answer any more; so
what counts is the application, each deployment, and pods.

    Ready        True: videos are taken and made
    Progressing  True: something is being brought about, and comes by itself
    Degraded     True: something fails, and stays so until somebody acts or a fault goes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from operators.api.base import Condition
from operators.api.video_service import Status
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
MOST_TEXT = 500
"""Characters of another program's message."""


@dataclass(frozen=True)
class Finding:
    """Why a service is not ready."""

    reason: str
    message: str
    failing: bool = False
    """True: waiting does not mend it."""


def conditions(world: World, trouble: Finding | None, before: Status, now: str) -> list[Condition]:
    """All conditions. `trouble` is what kept the children from being applied."""
    finding = trouble or next(_findings(world), None)
    waits = world.replacing if finding is None else not finding.failing
    told = {
        "Ready": (finding is None, finding or Finding("Serving", "videos are taken and made")),
        "Progressing": (waits, finding if finding and waits else _calm(world)),
        "Degraded": (
            finding is not None and finding.failing,
            finding if finding and finding.failing else Finding("AsExpected", ""),
        ),
    }
    since = {found.type: (found.status, found.last_transition_time) for found in before.conditions}
    made = []
    for name, (true, why) in told.items():
        status = "True" if true else "False"
        old, moment = since.get(name, ("", now))
        made.append(
            Condition(
                type=name,
                status=status,
                reason=why.reason,
                message=why.message,
                observed_generation=world.generation,
                last_transition_time=moment if old == status else now,
            )
        )
    return made


def _calm(world: World) -> Finding:
    """What goes on though all is served."""
    if world.replacing:
        return Finding("NewClusterStarts", f"RayCluster {world.pending_cluster} is to take over")
    return Finding("Settled", "")


def _findings(world: World) -> Iterator[Finding]:
    for check in _CHECKS:
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
            yield Finding("RayServiceInvalid", f"KubeRay refuses the RayService: {_short(found.get('message'))}", True)


def _pods(world: World) -> Iterator[Finding]:
    for pod in world.pods:
        why = _why_not(pod)
        if why:
            yield Finding("PodsFailing", f"pod {pod['metadata']['name']}: {why}", True)


def _why_not(pod: Object) -> str:
    """What a pod waits for that does not come by itself."""
    status = pod.get("status", {})
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _FAILING:
            return f"{container['name']}: {waiting['reason']}: {_short(waiting.get('message'))}"
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return f"no node takes it: {_short(condition.get('message'))}"
    return ""


def _stages(world: World) -> Iterator[Finding]:
    application = world.application
    for name, deployment in sorted((application.get("serveDeploymentStatuses") or {}).items()):
        if deployment.get("status") in ("UNHEALTHY", "DEPLOY_FAILED"):
            yield Finding("StagesFailing", f"{name}: {_last_line(deployment.get('message'))}", True)
    if application.get("status") in ("DEPLOY_FAILED", "UNHEALTHY"):
        yield Finding("StagesFailing", _last_line(application.get("message")), True)
    if not application and world.replacing:
        return  # KubeRay does not ask the cluster that serves while another one is about to take over: pods tell
    if not world.ray or not settled(world.ray) or application.get("status") != "RUNNING":
        yield Finding("StagesStarting", f"Ray's application is {application.get('status') or 'not there yet'}")


def _head(world: World) -> Iterator[Finding]:
    """The application's status stays as it was when the head has gone."""
    if not world.ready_heads:
        yield Finding("HeadAway", "no head of the active RayCluster is ready: KubeRay starts another one")


def _doors(world: World) -> Iterator[Finding]:
    if not world.door or not settled(world.door) or not world.doors:
        yield Finding("FrontDoorStarting", "no pod of the front door is ready")


_CHECKS: tuple[Callable[[World], Iterator[Finding]], ...] = (_kuberay, _ray_refused, _pods, _stages, _head, _doors)


def _short(text: object) -> str:
    return str(text or "")[:MOST_TEXT]


def _last_line(text: object) -> str:
    """Of a traceback, the exception."""
    lines = str(text or "no reason is told").strip().splitlines()
    return _short(lines[-1].strip())
