"""The orders that are compared: Longtake's, by the Director's own `Schedule`, and two that everybody knows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from engines import models
from loadtests.scheduling.workload import ROOT_STEP_S, STEP_S, STEPS_PER_SEGMENT, Job
from serving.director.cycle import RANKS_LIVE_S
from serving.director.denoising import LONGEST_SLICE_S
from serving.director.queue.in_hand import InHand
from serving.director.queue.schedule import Capacity, Schedule
from serving.director.queue.waiting import WaitingJobs
from serving.estimates import Course, Estimates
from serving.jobs.record import JobRecord
from serving.plan import Plan, plan
from serving.requests import VideoRequest
from serving.stage_names import DENOISER, RENDERER
from serving.stages.contracts import Rank
from serving.stages.engine_loop import PATIENCE_S

_MODEL = "sprite-2"
SLOTS = 4
"""As in the default settings: the first so many are given to the Denoiser."""


class Static:
    """The job of the lowest key takes each step. With the time of arrival as the key nothing is ever preempted."""

    def __init__(self, key: Callable[[Job], float], *, expires: bool = False) -> None:
        self.expires = expires
        self._key = key
        self._jobs: dict[str, Job] = {}
        self._first: Job | None = None

    def arrived(self, job: Job) -> None:
        """It waits."""
        self._jobs[job.name] = job
        self._first = None

    def pick(self, now_s: float) -> Job | None:
        """The lowest key."""
        if self._first is None and self._jobs:
            self._first = min(self._jobs.values(), key=lambda job: (self._key(job), job.arrives_s))
        return self._first

    def stepped(self, job: Job, seconds: float) -> None:
        """Nothing changes."""

    def left(self, job: Job) -> None:
        """It is gone."""
        del self._jobs[job.name]
        self._first = None


def fifo(*, expires: bool = False) -> Static:
    """First in, first out; what has begun is finished."""
    return Static(lambda job: job.arrives_s, expires=expires)


def edf(*, expires: bool = False) -> Static:
    """Earliest deadline first, preemptive."""
    return Static(lambda job: job.deadline_s or float("inf"), expires=expires)


@dataclass
class _Slice:
    rank: Rank
    order: int
    ends_s: float
    gives_up_s: float
    seconds: float = 0.0
    steps: int = 0


class Longtake:
    """The Director's line and `Schedule`, asked as `director/cycle.py` asks them, and the Denoiser's rule for a step.

    The Director chooses when a job has come or gone, and gives a slice its rank when it sends it. A slice lasts half a
    second, a segment's first one a step, and none goes beyond its segment; until it ends its rank is what it was.
    """

    expires = True

    def __init__(self) -> None:
        self._now_s = 0.0
        self._schedule = Schedule(
            weights={}, models={_MODEL: Capacity(SLOTS, 1)}, estimates=_learnt(), now_ms=self._now_ms
        )
        self._waiting = WaitingJobs()
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, InHand] = {}
        self._done: Counter[str] = Counter()
        self._slices: dict[str, _Slice] = {}
        self._numbers = itertools.count()
        self._changed = False
        self._ranked_s = 0.0

    def arrived(self, job: Job) -> None:
        """It waits."""
        self._jobs[job.name] = job
        self._waiting.put(_record(job))
        self._changed = True

    def pick(self, now_s: float) -> Job | None:
        """`min(rank, order)` over the slices that are there."""
        self._now_s = now_s
        for name, piece in list(self._slices.items()):
            if now_s >= (piece.ends_s if piece.seconds else piece.gives_up_s):
                self._answer(name)
        if self._changed:
            self._changed = False
            self._start()
        for name in self._running:
            if name not in self._slices:
                self._send(name)
        if not self._slices:
            return None
        return self._jobs[min(self._slices, key=lambda name: (self._slices[name].rank, self._slices[name].order))]

    def stepped(self, job: Job, seconds: float) -> None:
        """One step fewer to go."""
        piece = self._slices[job.name]
        piece.seconds += seconds
        piece.steps += 1
        self._done[job.name] += 1
        if self._done[job.name] % STEPS_PER_SEGMENT == 0:
            piece.ends_s = 0.0

    def left(self, job: Job) -> None:
        """It is gone."""
        if job.name in self._slices:
            self._answer(job.name)
        self._waiting.take((job.tenant, job.name))
        self._running.pop(job.name, None)
        del self._jobs[job.name]
        self._changed = True

    def _start(self) -> None:
        """One turn of the Director."""
        self._ranked_s = self._now_s
        for chosen in self._schedule.choose(self._waiting, self._running.values()):
            self._waiting.take(chosen.job.key)
            record = _record(self._jobs[chosen.job.job])
            self._running[chosen.job.job] = InHand(record, Course.of(record.plan, 0))

    def _send(self, name: str) -> None:
        if self._now_s - self._ranked_s > RANKS_LIVE_S:
            self._ranked_s = self._now_s
            self._schedule.rerank(self._running.values())
        rank = self._schedule.rank(self._running[name].record)
        budget_s = LONGEST_SLICE_S if self._done[name] % STEPS_PER_SEGMENT else 0.0
        gives_up_s = self._now_s + max(budget_s, PATIENCE_S)
        self._slices[name] = _Slice(rank, next(self._numbers), self._now_s + budget_s, gives_up_s)

    def _answer(self, name: str) -> None:
        piece, running = self._slices.pop(name), self._running[name]
        self._running[name] = InHand(running.record, running.course.at(self._done[name]))
        if piece.steps:
            segment = running.record.plan.segments[(self._done[name] - 1) // STEPS_PER_SEGMENT]
            self._schedule.measured(DENOISER, running.record, segment, piece.steps, piece.seconds)

    def _now_ms(self) -> int:
        return round(1000 * self._now_s)


def _learnt() -> Estimates:
    """What steps take is known; rendering takes next to nothing here."""
    estimates, like = Estimates(), _plan(2)
    for segment, seconds in zip(like.segments, (ROOT_STEP_S, STEP_S), strict=True):
        estimates.observe(DENOISER, like, segment, seconds)
        estimates.observe(RENDERER, like, segment, 1e-9)
    return estimates


def _record(job: Job) -> JobRecord:
    planned = _plan(len(job.steps) // STEPS_PER_SEGMENT)
    return JobRecord(
        id=job.name,
        tenant=job.tenant,
        request=_request(len(planned.segments)),
        plan=planned,
        priority=job.priority,
        created_ms=round(1000 * job.arrives_s),
        deadline_ms=None if job.deadline_s is None else round(1000 * job.deadline_s),
    )


@cache
def _plan(segments: int) -> Plan:
    return plan(_request(segments), models.family(_MODEL).capabilities, model_digest="0" * 64, seed=1)


@cache
def _request(segments: int) -> VideoRequest:
    return VideoRequest(model=_MODEL, seconds=segments, aspect_ratio="16:9", resolution="480p", steps=STEPS_PER_SEGMENT)
