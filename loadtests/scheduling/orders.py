"""The orders that are compared: Longtake's, by the functions of `serving/director`, and two that everybody knows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.scheduling.workload import Job
from serving.director.denoising import LONGEST_SLICE_S
from serving.director.queue.order import Ranked, Work, arrange, to_start
from serving.director.queue.shares import Shares
from serving.stages.contracts import Rank
from serving.stages.engine_loop import PATIENCE_S

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


class Longtake:
    """`serving/director/queue/order.py`, asked as the Director asks it, and the Denoiser's rule for the next step.

    The Director arranges all jobs when something changes, starts the first few, and gives a slice its rank when it
    sends it. A slice lasts half a second; until it ends its rank is what it was.
    """

    expires = True

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._jobs: dict[str, Job] = {}
        self._left_s: dict[str, float] = {}
        """Predicted seconds left."""
        self._done: Counter[str] = Counter()
        self._started: set[str] = set()
        self._slices: dict[str, _Slice] = {}
        self._numbers = itertools.count()
        self._changed = False

    def arrived(self, job: Job) -> None:
        """It waits."""
        self._jobs[job.name] = job
        self._left_s[job.name] = sum(job.predicted)
        self._changed = True

    def pick(self, now_s: float) -> Job | None:
        """`min(rank, order)` over the slices that are there."""
        for name, piece in list(self._slices.items()):
            if now_s >= (piece.ends_s if piece.seconds else piece.gives_up_s):
                self._answer(name)
        if self._changed:
            self._changed = False
            self._direct(now_s)
        if not self._slices:
            return None
        return self._jobs[min(self._slices, key=lambda name: (self._slices[name].rank, self._slices[name].order))]

    def stepped(self, job: Job, seconds: float) -> None:
        """One step fewer to go."""
        self._slices[job.name].seconds += seconds
        self._left_s[job.name] -= job.predicted[self._done[job.name]]
        self._done[job.name] += 1

    def left(self, job: Job) -> None:
        """It is gone."""
        if job.name in self._slices:
            self._answer(job.name)
        del self._jobs[job.name], self._left_s[job.name]
        self._started.discard(job.name)
        self._changed = True

    def _direct(self, now_s: float) -> None:
        """One cycle of a Director that arranges, starts by `to_start`, and gives each new slice its rank."""
        self._shares.present({job.tenant for job in self._jobs.values()})
        works = map(self._work, self._jobs.values())
        ranked = arrange(works, now_ms=round(1000 * now_s), shares=self._shares)
        for place in to_start(ranked, slots=SLOTS):
            self._started.add(place.work.job)
            self._send(place, 0.0, now_s)  # the first slice is one step
        for place in ranked:
            if place.work.job in self._started and place.work.job not in self._slices:
                self._send(place, LONGEST_SLICE_S, now_s)

    def _send(self, place: Ranked, budget_s: float, now_s: float) -> None:
        gives_up = now_s + max(budget_s, PATIENCE_S)
        self._slices[place.work.job] = _Slice(place.rank, next(self._numbers), now_s + budget_s, gives_up)

    def _work(self, job: Job) -> Work:
        deadline = None if job.deadline_s is None else round(1000 * job.deadline_s)
        created = round(1000 * job.arrives_s)
        left = max(0.0, self._left_s[job.name])
        return Work(job.tenant, job.name, job.priority, deadline, created, left, job.name in self._started)

    def _answer(self, name: str) -> None:
        self._shares.charge(self._jobs[name].tenant, self._slices.pop(name).seconds)
        self._changed = True
