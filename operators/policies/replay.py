"""What the replay of finished videos says of a version that is to serve. `change.py` asks.

Job Complete                       the version is as what served: the change goes on
Job Failed by its exit code 1      a video came out otherwise: the change is given up
three pods with other codes        it could not be judged: the change is given up, and nothing is said of its videos
all else                           it could not be tried yet: waited for, until the change's deadline

A store that is away, and a pod that was evicted, are no such try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from operators.children.names import COMPONENT
from operators.children.replay_job import AWAY, DIFFERS, REPLAY
from operators.policies.build_state import ended, said_last
from operators.policies.state import Finding, why_not
from operators.policies.words import short
from operators.policies.world import Object, labels

TRIES = 3


@dataclass(frozen=True)
class Replay:
    """How it stands."""

    lacks: Finding | None
    """What the change waits for; None: nothing."""
    differs: bool = False
    """Whether a video came out otherwise."""
    unfit: bool = False
    """Whether it could not be judged, however often it was tried."""
    words: str = ""
    """The command's own, when it came out as it should."""


def replayed(job: Object | None, pods: Sequence[Object], now: datetime) -> Replay:
    """`pods`: of the service."""
    ours = [pod for pod in pods if labels(pod).get(COMPONENT) == REPLAY]
    words = said_last(ours).removeprefix("error: ").removeprefix("could not be judged: ")
    if ended(job, "Complete") is not None:
        return Replay(None, words=words or "finished videos were replayed")
    failed = ended(job, "Failed")
    if failed is not None and failed.get("reason") == "PodFailurePolicy":
        why = words or short(failed.get("message"))
        return Replay(Finding("ReplayDiffers", why, failing=True), differs=True)
    if sum(map(_unjudged, ours)) >= TRIES:
        why = f"finished videos could not be judged, {TRIES} times: {words or 'it told nothing'}"
        return Replay(Finding("ReplayUnfit", why, failing=True), unfit=True)
    held = next(filter(None, (why_not(pod, now) for pod in ours)), "") or words
    if held or failed is not None:
        why = held or short((failed or {}).get("message"))
        return Replay(Finding("ReplayWaits", f"finished videos could not be replayed yet: {why}"))
    return Replay(Finding("Replaying", "finished videos are replayed on the new version"))


def _unjudged(pod: Object) -> bool:
    """Whether a try came to an end that says nothing of the videos, and not for what may be over soon."""
    status = pod.get("status", {})
    if any((one["type"], one["status"]) == ("DisruptionTarget", "True") for one in status.get("conditions") or ()):
        return False
    ended = [one.get("state", {}).get("terminated") or {} for one in status.get("containerStatuses") or ()]
    return any(one.get("exitCode", 0) not in (0, DIFFERS, AWAY) for one in ended)
