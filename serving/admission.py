"""Whether one more job may queue. Pure; `frontdoor/videos.py` asks before it persists."""

from __future__ import annotations

from serving.errors import ResourceExhausted

RETRY_S = (1.0, 60.0)
_DRAINED_SHARE = 0.01


def admit(*, active: int, limit: int, job_s: float) -> None:
    """Raise `ResourceExhausted` when a tenant's queue is full.

    `active`: its queued and running jobs. `limit`: the bound. `job_s`: seconds that one job takes now; a
    client is asked to come back when about one per cent of the queue will have drained, but after 1 to 60 s.
    """
    if active < limit:
        return
    wait = min(max(job_s * max(1.0, limit * _DRAINED_SHARE), RETRY_S[0]), RETRY_S[1])
    raise ResourceExhausted(
        f"the queue is full: {active} of your jobs are queued or running and {limit} is the most "
        f"(setting `admission.max_active_jobs`); come back in {wait:.0f} s",
        retry_after_s=wait,
        reason="QUEUE_FULL",
    )
