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
    return failed or ("Ready" in told and told["Ready"].status == "True")


def build_conditions(
    job: Object | None,
    pods: Sequence[Object],
    before: Status,
    *,
    generation: int,
    now: datetime,
    trouble: Finding | None,
) -> list[Condition]:
    """All conditions. `trouble` is what kept the Job from being made."""
    if finished(before):
        return before.conditions
    done, failed, waits = _ended(job, "Complete"), _ended(job, "Failed"), Finding("Building", _doing(pods))
    fails = trouble
    if failed is not None:
        reason = str(failed.get("reason"))
        fails = Finding(_REASONS.get(reason, "BuildFailed"), _last_words(pods) or str(failed.get("message") or reason))
    elif fails is None:
        held = next(filter(None, (why_not(pod, now) for pod in pods)), "")
        fails = Finding("PodsFailing", held) if held else None
    built = Finding("Built", "the engines are in the store, signed")
    told = {
        "Ready": (done is not None, built if done is not None else fails or waits),
        "Progressing": (done is None and failed is None and trouble is None, waits if done is None else built),
        "Degraded": (fails is not None, fails or Finding("AsExpected", "")),
    }
    return conditions_of(told, before.conditions, generation=generation, now=now)


def _ended(job: Object | None, how: str) -> Object | None:
    """The Job's condition of this type, where it is true."""
    told = (job or {}).get("status", {}).get("conditions") or ()
    return next((one for one in told if one["type"] == how and one.get("status") == "True"), None)


def _doing(pods: Sequence[Object]) -> str:
    running = [pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    return f"pod {running[-1]} builds: `kubectl logs` tells how far it is" if running else "its pod starts"


def _last_words(pods: Sequence[Object]) -> str:
    """What the newest pod that failed said last."""
    said = [
        (str(ended.get("finishedAt") or ""), str(ended["message"]))
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses") or ()
        if (ended := container.get("state", {}).get("terminated") or {}).get("message")
    ]
    lines = max(said)[1].strip().splitlines() if said else []
    return lines[-1].strip()[:500] if lines else ""
