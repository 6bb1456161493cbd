"""When a job that is asked for now would start and end. `videos.py` tells it to clients and refuses by it.

What a job takes was learnt by the Director (`estimates.py`). What is ahead of it is counted and not measured: every job
that waits or runs is taken for one like this. So the start is an estimate; the work itself is known better.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.errors import FailedPrecondition, ResourceExhausted
from serving.estimates import DENOISER, RENDERER, Estimates, load
from serving.frontdoor.backlog import Backlog
from serving.jobs.history import Prediction
from serving.plan import Plan
from serving.store.base import Store

_LIVE_S = 10.0


class Forecast:
    """One per front-door process."""

    def __init__(self, store: Store, backlog: Backlog, *, servers: int, now_ms: Callable[[], int]) -> None:
        """`servers`: Denoisers that work side by side."""
        self._store = store
        self._backlog = backlog
        self._servers = servers
        self._now_ms = now_ms
        self._known = Estimates()
        self._until = 0.0

    async def estimates(self) -> Estimates:
        """What the Director has learnt, at most some seconds ago."""
        if time.monotonic() >= self._until:
            self._known = await load(self._store)
            self._until = time.monotonic() + _LIVE_S
        return self._known

    async def of(self, plan: Plan) -> Prediction:
        """For a job with this plan, if it were made now."""
        seconds = (await self.estimates()).predict(plan)
        ahead = await self._backlog.all_active()
        start = self._now_ms() + round(1000 * ahead * seconds[DENOISER] / self._servers)
        # The last segment is rendered after the last step, the others meanwhile.
        took = seconds[DENOISER] + seconds[RENDERER] / len(plan.segments)
        return Prediction(start_ms=start, end_ms=start + round(1000 * took), seconds=seconds)


def check_deadline(deadline_ms: int | None, prediction: Prediction, now_ms: int) -> None:
    """Refuse a deadline that cannot be met: for ever, or while so much is ahead."""
    if deadline_ms is None or prediction.end_ms <= deadline_ms:
        return
    work_s = (prediction.end_ms - prediction.start_ms) / 1000
    if now_ms + 1000 * work_s > deadline_ms:
        raise FailedPrecondition(
            f"deadline: the work alone takes about {work_s:.1f} s: give it more time, or ask for less",
            reason="DEADLINE_TOO_SHORT",
        )
    wait_s = (prediction.end_ms - deadline_ms) / 1000
    raise ResourceExhausted(
        f"deadline: with what is queued the video would be done {wait_s:.1f} s too late; "
        f"come back in {wait_s:.0f} s, or give it more time",
        retry_after_s=max(1.0, wait_s),
        reason="DEADLINE_UNREACHABLE",
    )
