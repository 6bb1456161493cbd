"""A VideoService with `drain.timeoutSeconds` goes: what runs may end first. All that serves stays as it is meanwhile.

Each look does what is due, so it may be killed between any two. `reconcile.py` calls it while a finalizer of ours is
there. Nothing is lost by letting go too early, so whatever keeps it from being known what runs keeps nobody waiting
beyond the time that was given.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from operators.api.video_service import Spec
from operators.children.drain_job import drain_job
from operators.children.names import Owner
from operators.cluster import Cluster
from operators.policies.build_state import ended
from operators.policies.state import Finding, moment

LOOK_S = 2.0
"""Between two looks at one that goes."""


def drained(cluster: Cluster, owner: Owner, spec: Spec, deleted_at: str, now: datetime) -> Finding | None:
    """What it waits for; None: nothing any more. Raises `ApiException`."""
    ends = datetime.fromisoformat(deleted_at) + timedelta(seconds=spec.drain.timeout_seconds)
    if now >= ends:
        return None
    job = cluster.get("batch/v1", "Job", owner.namespace, owner.drain) or cluster.apply(drain_job(owner, spec))
    ours = any(reference["uid"] == owner.uid for reference in job["metadata"].get("ownerReferences") or ())
    if ours and (ended(job, "Complete") or ended(job, "Failed")):
        return None
    return Finding("Draining", f"jobs that run may end until {moment(ends)}, then it goes: Job {owner.drain} waits")
