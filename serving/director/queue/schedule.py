"""Which jobs start, and how urgent each running one is: the order of `order.py`, fed with what the Director knows.

The Director asks it once per cycle whom to start, and each slice for its rank. More jobs run than the Denoisers can
step at once: those of worse rank are there to fill gaps, and a job that ranks among the first starts even when all
slots are taken (`order.to_start`), for rank alone decides whose step is next.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from serving.director.queue.order import Ranked, Why, Work, arrange, to_start
from serving.director.queue.shares import Shares
from serving.director.queue.waiting import Waiting
from serving.estimates import Estimates
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord
from serving.plan import PlannedSegment
from serving.stage_names import DENOISER, RENDERER, STAGES, StageName
from serving.stages.contracts import Rank

SMALL_STAGES_S = 0.01
"""What a segment costs the stages that are not measured: they are quick."""
MOST_LOOKED_AT = 1000
MOST_TOLD = 1000
"""Of so many jobs it is told why they have their places, and of each tenant's as many as of another's."""
JOBS = "jobs"
LAST: Rank = (float("inf"),)


class Schedule:
    """One Director's. Pure but for the clock that is handed in."""

    def __init__(
        self, *, weights: Mapping[str, float], servers: int, slots: int, estimates: Estimates, now_ms: Callable[[], int]
    ) -> None:
        """`servers`: Denoiser replicas. `slots`: jobs that run at once, urgent ones aside."""
        self.estimates = estimates
        self._shares = Shares(weights)
        self._servers = servers
        self._slots = slots
        self._now_ms = now_ms
        self._ranks: dict[JobKey, Rank] = {}
        self.whys: dict[JobKey, Why] = {}
        """Why jobs have their places, as they were last chosen from: of each tenant the first ones."""

    def choose(self, waiting: Collection[Waiting], running: Collection[JobRecord]) -> list[Waiting]:
        """The jobs to start now, best first; the ranks of all are fresh afterwards."""
        self._shares.present({job.tenant for job in waiting} | {record.tenant for record in running})
        work = [*map(self._waiting_work, waiting), *map(self._running_work, running)]
        ranked = arrange(work, now_ms=self._now_ms(), shares=self._shares, servers=self._servers)
        self._ranks = {(place.work.tenant, place.work.job): place.rank for place in ranked}
        self.whys = _whys_of(ranked)
        return self._starting(to_start(ranked, slots=self._slots), waiting)

    def rank(self, record: JobRecord) -> Rank:
        """A running job's place at the Denoiser."""
        return self._ranks.get((record.tenant, record.id), LAST)

    def measured(
        self, stage: StageName, record: JobRecord, segment: PlannedSegment, units: int, seconds: float
    ) -> None:
        """So many units of a segment, steps or the whole of it, took so many engine seconds."""
        self.estimates.observe(stage, record.plan, segment, seconds / units)
        if stage == DENOISER:
            self._shares.charge(record.tenant, seconds)

    def backlog(self, waiting: Collection[Waiting], running: Collection[JobRecord]) -> dict[str, float]:
        """Seconds of predicted work that waits or runs, by stage, and under `JOBS` how many jobs have it.

        Of a long line a part is looked at.
        """
        known = itertools.chain(running, (job.record for job in waiting if job.record is not None))
        records = list(itertools.islice(known, MOST_LOOKED_AT))
        count = len(waiting) + len(running)
        if not records:
            return {**dict.fromkeys(STAGES, float(count)), JOBS: float(count)}
        more = count / len(records)
        small = SMALL_STAGES_S * sum(len(record.plan.segments) - len(record.segments) for record in records)
        seconds = {
            **dict.fromkeys(STAGES, small),
            DENOISER: sum(self.estimates.remaining(record.plan, record.steps_done) for record in records),
            RENDERER: sum(self._rendering(record) for record in records),
        }
        return {**{stage: work * more for stage, work in seconds.items()}, JOBS: float(count)}

    def _starting(self, places: Iterable[Ranked], waiting: Iterable[Waiting]) -> list[Waiting]:
        by_key = {job.key: job for job in waiting}
        return [by_key[place.work.tenant, place.work.job] for place in places]

    def _waiting_work(self, job: Waiting) -> Work:
        remaining = self.estimates.remaining(job.record.plan, job.record.steps_done) if job.record else 1.0
        deadline = self._steps_due(job.record) if job.record else job.deadline_ms
        return Work(job.tenant, job.job, job.priority, deadline, job.since_ms, remaining)

    def _running_work(self, record: JobRecord) -> Work:
        remaining = self.estimates.remaining(record.plan, record.steps_done)
        due = self._steps_due(record)
        return Work(record.tenant, record.id, record.priority, due, record.created_ms, remaining, running=True)

    def _steps_due(self, record: JobRecord) -> int | None:
        """When the steps must be done for the last segment to be rendered in time."""
        if record.deadline_ms is None:
            return None
        last = self.estimates.unit(RENDERER, record.plan, record.plan.segments[-1])
        return record.deadline_ms - round(1000 * last)

    def _rendering(self, record: JobRecord) -> float:
        done = len(record.segments) + len(record.images)
        return sum(self.estimates.unit(RENDERER, record.plan, segment) for segment in record.plan.segments[done:])


def _whys_of(ranked: Collection[Ranked]) -> dict[JobKey, Why]:
    each = max(1, MOST_TOLD // max(1, len({place.work.tenant for place in ranked})))
    seen: Counter[str] = Counter()
    whys: dict[JobKey, Why] = {}
    for place in ranked:
        tenant = place.work.tenant
        seen[tenant] += 1
        if seen[tenant] <= each and len(whys) < MOST_TOLD:
            whys[tenant, place.work.job] = place.why
    return whys
