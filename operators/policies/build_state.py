"""How an EngineBuild is, by its Job and the Job's pods.

Ready        True: the engines are in the store, for good: the Job may go
Progressing  True: they are being built
Degraded     True: the build failed, or a pod waits for what does not come by itself
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from operators.api.base import Condition
from operators.api.engine_build import Status
from operators.policies.state import Finding, conditions_of, why_not
from operators.policies.words import last_words

Object = Mapping[str, Any]
_REASONS = {
    "PodFailurePolicy": "InputRefused",
    "BackoffLimitExceeded": "BuildFailed",
    "DeadlineExceeded": "DeadlineExceeded",
}
"""Of a failed Job, by Kubernetes' own."""


def finished(before: Status) -> bool:
    """Whether it came to its end before: nothing is built again, should its Job be gone."""
    told = {condition.type: condition for condition in before.conditions}
    failed = "Degraded" in told and told["Degraded"].reason in _REASONS.values()
    return failed or ready(before)


def ready(before: Status) -> bool:
    """Whether it came to a good one."""
    return any((condition.type, condition.status) == ("Ready", "True") for condition in before.conditions)


def build_conditions(
    job: Object | None,
    pods: Sequence[Object],
    before: Status,
    *,
    targets: Sequence[str] = (),
    generation: int,
    now: datetime,
    trouble: Finding | None,
) -> list[Condition]:
    """All conditions. `targets`: of the build. `trouble` is what keeps the Job from being made."""
    if finished(before):
        return before.conditions
    done, failed, waits = ended(job, "Complete"), ended(job, "Failed"), Finding("Building", _doing(pods))
    fails = trouble if trouble is not None and trouble.failing else None
    if trouble is not None and fails is None:
        waits = trouble
    if failed is not None:
        reason = str(failed.get("reason"))
        said = said_last(pods) or str(failed.get("message") or reason)
        fails = Finding(_REASONS.get(reason, "BuildFailed"), said, failing=True)
    elif fails is None:
        held = next(filter(None, (why_not(pod, now) for pod in pods)), "")
        fails = Finding("PodsFailing", held, failing=True) if held else None
    built = _built(targets)
    end = built if done is not None else fails if failed is not None or trouble is fails else None
    told = {
        "Ready": (done is not None, built if done is not None else fails or waits),
        "Progressing": (end is None, end or waits),
        "Degraded": (fails is not None, fails or Finding("AsExpected", "")),
    }
    return conditions_of(told, before.conditions, generation=generation, now=now)


def ended(job: Object | None, how: str) -> Object | None:
    """The Job's condition of this type, where it is true."""
    told = (job or {}).get("status", {}).get("conditions") or ()
    return next((one for one in told if one["type"] == how and one.get("status") == "True"), None)


def _built(targets: Sequence[str]) -> Finding:
    if not targets:
        return Finding("Built", "the engines are in the store, signed")
    return Finding(
        "CompiledNotVerified",
        f"the engines for {', '.join(targets)} are in the store, signed, and loaded only when `longtake engines "
        "verify` has compared them where such a GPU is",
    )


def _doing(pods: Sequence[Object]) -> str:
    running = [pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    return f"pod {running[-1]} builds: `kubectl logs` tells how far it is" if running else "its pod starts"


def said_last(pods: Sequence[Object]) -> str:
    """What the newest pod that failed said last."""
    states = [
        container.get("state", {}).get("terminated") or {}
        for pod in pods
        for which in ("initContainerStatuses", "containerStatuses")
        for container in pod.get("status", {}).get(which) or ()
    ]
    newest = max(states, key=lambda one: str(one.get("finishedAt") or ""), default={})
    return last_words(newest)
