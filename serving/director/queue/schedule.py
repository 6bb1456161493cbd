"""Which jobs start, and how urgent each running one is: the order of `order.py`, fed with what the Director knows.

The Director asks it once per cycle whom to start (`choose`), and each slice for its rank; ranks age, so those of what
runs are made anew now and then (`rerank`). Of what waits only a window is looked at (`window.py`). More jobs run than
the Denoisers can step at once: those of worse rank are there to fill gaps, and a job that ranks among the first starts
even when all slots are taken (`order.to_start`), for rank alone decides whose step is next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from serving.director.queue.order import OVERFULL, Ranked, Why, Work, arrange, ranks, to_start
from serving.director.queue.shares import Shares
from serving.director.queue.tickets import Waiting
from serving.director.queue.waiting import WaitingJobs
from serving.director.queue.window import window
from serving.estimates import Course, Estimates
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
_NOBODY: Mapping[JobKey, Waiting] = MappingProxyType({})
UNREAD_S = 1.0
"""What a job whose record is unread is taken to need at the Denoiser."""


class InHand(NamedTuple):
    """A job that runs."""

    record: JobRecord
    course: Course
    """As of now: the record counts the steps of committed segments alone."""
    waits_for_others: bool = False
    """It gets no further until others have shown whether it or a stage is at fault."""


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
        self._busy: set[str] = set()
        """Tenants with running jobs."""
        self.whys: dict[JobKey, Why] = {}
        """Why jobs have their places, as they were last chosen from: of each tenant the first ones."""

    def choose(
        self, waiting: WaitingJobs, running: Collection[InHand], starting: Mapping[JobKey, Waiting] = _NOBODY
    ) -> list[Waiting]:
        """The jobs to start now, best first; the ranks of all that were looked at are fresh afterwards.

        `starting`: those that were chosen before and are being claimed: they have their slots, in line or not.
        Those that wait for others have none, for else they would keep these out.
        """
        self._note_who_has_work(waiting, [*(job.record.tenant for job in running), *(tenant for tenant, _ in starting)])
        seen = {job.key: job for job in window(waiting, self._shares, self._slots) if job.key not in starting}
        work = [
            *map(self._waiting_work, seen.values()),
            *map(self._running_work, self._with_slots(running)),
            *(self._waiting_work(job)._replace(running=True) for job in starting.values()),
        ]
        ranked = arrange(work, now_ms=self._now_ms(), shares=self._shares, servers=self._servers)
        self._ranks = {(place.work.tenant, place.work.job): place.rank for place in ranked}
        self.whys = _whys_of(ranked)
        return [seen[place.work.tenant, place.work.job] for place in to_start(ranked, slots=self._slots)]

    def rerank(self, running: Collection[InHand]) -> None:
        """Compare the running jobs with each other anew: what was served since counts."""
        work = map(self._running_work, running)
        self._ranks |= ranks(work, now_ms=self._now_ms(), shares=self._shares, servers=self._servers)

    def rank(self, record: JobRecord) -> Rank:
        """A running job's place at the Denoiser."""
        return self._ranks.get((record.tenant, record.id), LAST)

    def measured(
        self, stage: StageName, record: JobRecord, segment: PlannedSegment, units: int, seconds: float
    ) -> None:
        """So many units of a segment, steps or the whole of it, took so many engine seconds."""
        self.estimates.observe(stage, record.plan, segment, seconds / units)
        self._shares.charge(record.tenant, seconds)

    def backlog(self, waiting: WaitingJobs, running: Collection[InHand]) -> dict[str, float]:
        """Seconds of predicted work that waits or runs, by stage, and under `JOBS` how many jobs have it.

        Of a long line a part is looked at.
        """
        known = [job.course for job in islice(waiting, MOST_LOOKED_AT) if job.course is not None]
        denoised = [*(job.course for job in running), *known]
        # A segment is denoised some time before it is rendered, and only then does the record count it.
        rendered = [*(job.course.at(job.record.steps_done) for job in running), *known]
        count = len(waiting) + len(running)
        if not denoised:
            return {**dict.fromkeys(STAGES, float(count)), JOBS: float(count)}
        more = count / len(denoised)
        small = SMALL_STAGES_S * sum(count for course in rendered for _, count in course.ahead())
        seconds = {
            **dict.fromkeys(STAGES, small),
            DENOISER: sum(map(self.estimates.remaining, denoised)),
            RENDERER: sum(map(self.estimates.rendering, rendered)),
        }
        return {**{stage: work * more for stage, work in seconds.items()}, JOBS: float(count)}

    def _with_slots(self, running: Collection[InHand]) -> list[InHand]:
        most = OVERFULL * self._slots  # a stage that ends every worker shall not draw the whole queue to itself
        aside = {id(job) for job in islice((job for job in running if job.waits_for_others), most)}
        return [job for job in running if id(job) not in aside]

    def _note_who_has_work(self, waiting: WaitingJobs, busy: Iterable[str]) -> None:
        before, self._busy = self._busy, set(busy)
        changed = waiting.changed() | (before ^ self._busy)
        with_work = {tenant for tenant in changed if tenant in self._busy or waiting.in_line(tenant)}
        for tenant in with_work:
            self._shares.arrived(tenant)
        for tenant in changed - with_work:
            self._shares.left(tenant)

    def _waiting_work(self, job: Waiting) -> Work:
        remaining = UNREAD_S if job.course is None else self.estimates.remaining(job.course)
        due = self._steps_due(job.deadline_ms, job.course)
        return Work(job.tenant, job.job, job.priority, due, job.since_ms, remaining)

    def _running_work(self, job: InHand) -> Work:
        record, course = job.record, job.course
        remaining = self.estimates.remaining(course)
        due = self._steps_due(record.deadline_ms, course)
        return Work(record.tenant, record.id, record.priority, due, record.created_ms, remaining, running=True)

    def _steps_due(self, deadline_ms: int | None, course: Course | None) -> int | None:
        """When the steps must be done for the last segment to be rendered in time."""
        if deadline_ms is None or course is None:
            return deadline_ms
        return deadline_ms - round(1000 * self.estimates.last_rendering(course))


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
