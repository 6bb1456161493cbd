"""Which jobs start, and how urgent each running one is: the order of `order.py`, fed with what the Director knows.

The Director asks it once per cycle whom to start (`choose`), and each slice for its rank; ranks age, so those of what
runs are made anew now and then (`rerank`). Of what waits only a window is looked at (`window.py`). More jobs run than
the Denoisers can step at once: those of worse rank are there to fill gaps, and a job that ranks among the first starts
even when all slots are taken (`order.to_start`), for rank alone decides whose step is next.

Each model has slots and Denoisers of its own, so its jobs are ordered among themselves, whatever those of others do;
only what a tenant was given counts over all of them (`shares.py`). A job whose record is unread may be of any: it is
looked at with those of each model, and whoever claims it reads which it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from itertools import zip_longest
from types import MappingProxyType
from typing import NamedTuple

from serving.director.queue.in_hand import InHand, by_model, with_slots
from serving.director.queue.order import Ranked, Why, Work, arrange, ranks, to_start
from serving.director.queue.shares import Shares
from serving.director.queue.tickets import UNREAD, Waiting
from serving.director.queue.waiting import TenantsWork, WaitingJobs
from serving.director.queue.window import window
from serving.estimates import Course, Estimates
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord
from serving.plan import PlannedSegment
from serving.stage_names import StageName
from serving.stages.contracts import Rank

MOST_TOLD = 1000
"""Of so many jobs it is told why they have their places, and of each model's and tenant's as many as of another's."""
LAST: Rank = (float("inf"),)
UNREAD_S = 1.0
"""What a job whose record is unread is taken to need at the Denoiser."""


class Capacity(NamedTuple):
    """How much of a model there is."""

    slots: int
    """Its jobs that run at once, urgent ones aside."""
    servers: int
    """Denoisers."""


class Chosen(NamedTuple):
    """A job to start."""

    model: str
    """Whose slot it gets. It turns out to be of another one only where its record is unread."""
    job: Waiting


_NOBODY: Mapping[JobKey, Chosen] = MappingProxyType({})


class Schedule:
    """One Director's. Pure but for the clock that is handed in."""

    def __init__(
        self,
        *,
        weights: Mapping[str, float],
        models: Mapping[str, Capacity],
        estimates: Estimates,
        now_ms: Callable[[], int],
    ) -> None:
        """`weights`: fair shares by tenant. `models`: those that are served."""
        self.estimates = estimates
        self.models = models
        """Jobs of no other model are chosen."""
        self._shares = Shares(weights)
        self._now_ms = now_ms
        self._ranks: dict[JobKey, Rank] = {}
        self._busy: set[TenantsWork] = set()
        """Tenants with running jobs, by model."""
        self.whys: dict[str, dict[JobKey, Why]] = {}
        """Why jobs have their places, by model, as they were last chosen from: of each tenant the first ones."""

    def choose(
        self, waiting: WaitingJobs, running: Collection[InHand], starting: Mapping[JobKey, Chosen] = _NOBODY
    ) -> list[Chosen]:
        """The jobs to start now, best first, of the models in turn; the ranks of all that were looked at are fresh
        afterwards.

        `starting`: those that were chosen before and are being claimed: they have their slots, in line or not.
        Those that wait for others have none, for else they would keep these out.
        """
        self._note_who_has_work(waiting, running, starting)
        gone, hands = waiting.not_of({*self.models, UNREAD}), by_model(running)
        most = MOST_TOLD // max(1, len(self.models) + len(gone))
        self._ranks = {}
        self.whys = {
            model: dict.fromkeys((job.key for job in waiting.some(model, most)), Why.NOT_SERVED) for model in gone
        }
        taken = set(starting)
        firsts: list[list[Chosen]] = []
        for model, (slots, servers) in sorted(self.models.items()):
            seen = self._seen(waiting, model, slots, taken)
            work = [
                *map(self._waiting_work, seen.values()),
                *map(self._running_work, with_slots(hands.get(model, []), slots)),
                *(self._starting_work(start) for start in starting.values() if start.model == model),
            ]
            ranked = arrange(work, now_ms=self._now_ms(), shares=self._shares, servers=servers)
            self._ranks |= {place.key: place.rank for place in ranked}
            self.whys[model] = _whys_of(ranked, most)
            firsts.append([Chosen(model, seen[place.key]) for place in to_start(ranked, slots=slots)])
            taken.update(start.job.key for start in firsts[-1])
        return [start for turn in zip_longest(*firsts) for start in turn if start is not None]

    def _seen(self, waiting: WaitingJobs, model: str, slots: int, taken: Collection[JobKey]) -> dict[JobKey, Waiting]:
        """Jobs that wait for a model, or may, as far as they are looked at and not chosen already."""
        lines = (waiting.line(model), waiting.line(UNREAD))
        return {job.key: job for job in window(lines, self._shares, slots) if job.key not in taken}

    def rerank(self, running: Collection[InHand]) -> None:
        """Compare the running jobs of each model with each other anew: what was served since counts."""
        for model, jobs in by_model(running).items():
            servers = self.models[model].servers if model in self.models else 1
            work = map(self._running_work, jobs)
            self._ranks |= ranks(work, now_ms=self._now_ms(), shares=self._shares, servers=servers)

    def rank(self, record: JobRecord) -> Rank:
        """A running job's place at the Denoiser."""
        return self._ranks.get((record.tenant, record.id), LAST)

    def measured(
        self, stage: StageName, record: JobRecord, segment: PlannedSegment, units: int, seconds: float
    ) -> None:
        """So many units of a segment, steps or the whole of it, took so many engine seconds."""
        self.estimates.observe(stage, record.plan, segment, seconds / units)
        self._shares.charge(record.tenant, seconds)

    def _note_who_has_work(
        self, waiting: WaitingJobs, running: Collection[InHand], starting: Mapping[JobKey, Chosen]
    ) -> None:
        before = self._busy
        self._busy = {(job.record.tenant, job.model) for job in running}
        self._busy |= {(start.job.tenant, start.model) for start in starting.values()}
        changed = waiting.changed() | (before ^ self._busy)
        with_work = {(who, what) for who, what in changed if (who, what) in self._busy or who in waiting.line(what)}
        for tenant, model in with_work:
            self._shares.arrived(tenant, model)
        for tenant, model in changed - with_work:
            self._shares.left(tenant, model)

    def _waiting_work(self, job: Waiting) -> Work:
        remaining = UNREAD_S if job.course is None else self.estimates.remaining(job.course)
        due = self._steps_due(job.deadline_ms, job.course)
        return Work(job.tenant, job.job, job.priority, due, job.since_ms, remaining)

    def _starting_work(self, start: Chosen) -> Work:
        return self._waiting_work(start.job)._replace(running=True)

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


def _whys_of(ranked: Collection[Ranked], most: int) -> dict[JobKey, Why]:
    each = max(1, most // max(1, len({place.work.tenant for place in ranked})))
    seen: Counter[str] = Counter()
    whys: dict[JobKey, Why] = {}
    for place in ranked:
        tenant = place.work.tenant
        seen[tenant] += 1
        if seen[tenant] <= each and len(whys) < most:
            whys[place.key] = place.why
    return whys
