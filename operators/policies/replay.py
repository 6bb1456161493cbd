"""What the replay of finished videos says of a version that is to serve. `change.py` asks.

Job Complete                       the version is as what served: the change goes on
Job Failed by its exit code 1      a video came out otherwise: the change is given up
all else                           it could not be tried yet: waited for, until the change's deadline
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from operators.children.names import COMPONENT
from operators.children.replay_job import REPLAY
from operators.policies.build_state import ended, said_last
from operators.policies.state import Finding, why_not
from operators.policies.words import short
from operators.policies.world import Object, labels


@dataclass(frozen=True)
class Replay:
    """How it stands."""

    lacks: Finding | None
    """What the change waits for; None: nothing."""
    differs: bool = False
    """Whether a video came out otherwise."""
    words: str = ""
    """The command's own, when it came out as it should."""


def replayed(job: Object | None, pods: Sequence[Object], now: datetime) -> Replay:
    """`pods`: of the service."""
    ours = [pod for pod in pods if labels(pod).get(COMPONENT) == REPLAY]
    words = said_last(ours).removeprefix("error: ")
    if ended(job, "Complete") is not None:
        return Replay(None, words=words or "finished videos were replayed")
    failed = ended(job, "Failed")
    if failed is not None and failed.get("reason") == "PodFailurePolicy":
        why = words or short(failed.get("message"))
        return Replay(Finding("ReplayDiffers", why, failing=True), differs=True)
    held = next(filter(None, (why_not(pod, now) for pod in ours)), "") or words
    if held or failed is not None:
        why = held or short((failed or {}).get("message"))
        return Replay(Finding("ReplayWaits", f"finished videos could not be replayed yet: {why}"))
    return Replay(Finding("Replaying", "finished videos are replayed on the new version"))
