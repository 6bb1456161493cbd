"""When a job that is asked for now would start and end, and when those that wait will. `create/create.py` tells it to
clients, `gate.py` refuses by it, `surfaces/longtake/jobs.py` shows it.

What a job takes was learnt by the Director (`estimates.py`); what is in its way is counted, and its work is a mean
(`backlog.py`). So the work itself is known better than the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from serving.estimates import Course, Estimates, load
from serving.frontdoor.admission.backlog import ALL, Backlog
from serving.frontdoor.admission.bounds import Occupancy, served_after
from serving.jobs.history import Prediction
from serving.jobs.record import DEFAULT_PRIORITY, URGENT, JobRecord, JobState
from serving.logs import logger
from serving.plan import Plan
from serving.stage_names import DENOISER, RENDERER
from serving.store.base import Store

_LIVE_S = 10.0

_log = logger("forecast")


class Forecast:
    """One per front-door process."""

    def __init__(
        self,
        store: Store,
        backlog: Backlog,
        *,
        servers: Callable[[str], int],
        now_ms: Callable[[], int],
        weights: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`servers`: Denoisers of a model that work side by side. `weights`: fair shares by tenant, 1 where none is
        named."""
        self._store = store
        self._backlog = backlog
        self._servers = servers
        self._weights = dict(weights or {})
        self._now_ms = now_ms
        self._clock = clock
        self._known = Estimates()
        self._until = float("-inf")

    async def estimates(self) -> Estimates:
        """What the Director has learnt, at most some seconds ago."""
        if self._clock() >= self._until:
            try:
                self._known = await load(self._store)
            except ValueError as error:  # a later version's: a guess is better than no create
                _log.warning("estimates not read: what was known last is taken for true", reason=str(error))
            self._until = self._clock() + _LIVE_S
        return self._known

    async def of(self, plan: Plan, *, tenant: str, priority: int, deadline_ms: int | None) -> Prediction:
        """For a job with this plan, if it were made now."""
        seconds = (await self.estimates()).predict(plan)
        steps_s = seconds[DENOISER]
        ahead_s = await self._backlog.ahead_s(tenant, priority, deadline_ms, steps_s, plan.model)
        start_s, end_s = self._times(plan.model, tenant, priority, ahead_s, steps_s)
        end_s += _last_rendered_s(seconds, plan)
        now = self._now_ms()
        return Prediction(start_ms=now + round(1000 * start_s), end_ms=now + round(1000 * end_s), seconds=seconds)

    async def expected(self, records: Iterable[JobRecord], *, before: int = 0) -> dict[str, Prediction]:
        """For all jobs of one tenant that wait or run, as things stand: by id, with the work that is left of each.
        `before`: how many there are that go before all of these.
        """
        known, now = await self.estimates(), self._now_ms()
        found: dict[str, Prediction] = {}
        ahead_s: dict[str, float] = {}
        for record in sorted(records, key=_turn):
            model, left = record.plan.model, known.remaining(Course.of(record.plan, record.steps_done))
            if model not in ahead_s:
                ahead_s[model] = before * self._backlog.job_s(record.tenant, left, model)
            start_s, end_s = self._times(model, record.tenant, record.priority, ahead_s[model], left)
            ahead_s[model] += left
            end = now + round(1000 * (end_s + _last_rendered_s(known.predict(record.plan), record.plan)))
            begun = record.started_ms if record.state is JobState.RUNNING else None
            start = now + round(1000 * start_s) if begun is None else begun
            found[record.id] = Prediction(start_ms=start, end_ms=end, seconds={DENOISER: left})
        return found

    async def occupancy(self, tenant: str, model: str, like_s: float) -> Occupancy:
        """How full the queue is, and how fast it empties. `model`, `like_s`: of the job that is asked for, its work."""
        active, all_active = await self._backlog.active(tenant), await self._backlog.all_active()
        return Occupancy(
            active=active,
            all_active=all_active,
            tenant_job_s=self._shared_s(
                model, tenant, DEFAULT_PRIORITY, self._backlog.job_s(tenant, like_s, model), like_s
            ),
            all_job_s=self._backlog.job_s(ALL, like_s, model) / self._servers(model),
            seen_again_s=self._backlog.seen_again_s(),
        )

    def _times(self, model: str, tenant: str, priority: int, ahead_s: float, work_s: float) -> tuple[float, float]:
        """Seconds until a job starts and until its steps are done, `ahead_s` seconds of its tenant's work before it."""
        start_s = self._shared_s(model, tenant, priority, ahead_s, work_s)
        end_s = self._shared_s(model, tenant, priority, ahead_s + work_s, work_s)
        # However many Denoisers there are, a job is on one of them at a time.
        return start_s, max(end_s, start_s + work_s)

    def _shared_s(self, model: str, tenant: str, priority: int, work_s: float, like_s: float) -> float:
        """Seconds until so much of a tenant's work is done beside the shares of the others. Urgent jobs go first."""
        if priority == URGENT:
            return work_s / self._servers(model)
        mine = self._weights.get(tenant, 1.0)
        others = self._backlog.others_s(tenant, like_s, model)
        return served_after(
            work_s, [(s, self._weights.get(name, 1.0) / mine) for name, s in others], self._servers(model)
        )


def alone_s(prediction: Prediction, plan: Plan) -> float:
    """Seconds that a job takes where nothing else is in its way."""
    return prediction.seconds[DENOISER] + _last_rendered_s(prediction.seconds, plan)


def _last_rendered_s(seconds: dict[str, float], plan: Plan) -> float:
    """The last segment is rendered after the last step, the others meanwhile."""
    return seconds[RENDERER] / len(plan.segments)


def _turn(record: JobRecord) -> tuple[bool, int, float, int]:
    """About the order in which the Director goes: what runs, urgency, deadlines, age."""
    due = float("inf") if record.deadline_ms is None else float(record.deadline_ms)
    return record.state is not JobState.RUNNING, record.priority, due, record.created_ms
