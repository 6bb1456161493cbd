"""A discrete-event world: one engine, jobs that arrive, an order that picks each step. The clock is simulated."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loadtests.scheduling.workload import Job


class Order(Protocol):
    """Decides what the engine does next."""

    @property
    def expires(self) -> bool:
        """Whether jobs that are not done by their deadline are ended then."""
        ...

    def arrived(self, job: Job) -> None:
        """A job waits."""
        ...

    def pick(self, now_s: float) -> Job | None:
        """The job whose next step is run now."""
        ...

    def stepped(self, job: Job, seconds: float) -> None:
        """A step was run."""
        ...

    def left(self, job: Job) -> None:
        """A job is done, or has expired."""
        ...


@dataclass
class Outcome:
    """What became of a job; a refused one never began."""

    job: Job
    first_step_s: float | None = None
    """When its first step began."""
    done_s: float | None = None

    @property
    def in_time(self) -> bool:
        """Done by its deadline."""
        return self.done_s is not None and (self.job.deadline_s is None or self.done_s <= self.job.deadline_s)

    @property
    def took_s(self) -> float:
        """From its arrival to its end."""
        assert self.done_s is not None
        return self.done_s - self.job.arrives_s


def simulate(jobs: Sequence[Job], order: Order, *, most: int | None = None) -> list[Outcome]:
    """Run until all jobs are done, expired or refused. What arrives during a step is seen when it ends.

    `most`: active jobs of one tenant that admission allows.
    """
    world = _World(jobs, order, most)
    while world.turn():
        pass
    return list(world.outcomes.values())


class _World:
    def __init__(self, jobs: Sequence[Job], order: Order, most: int | None) -> None:
        self.outcomes = {job.name: Outcome(job) for job in jobs}
        self._order = order
        self._most = most
        self._coming = deque(sorted(jobs, key=lambda job: job.arrives_s))
        self._steps: dict[str, int] = {}
        """Steps done of each job that is there."""
        self._active: Counter[str] = Counter()
        self._now = 0.0

    def turn(self) -> bool:
        """What has arrived, what has expired, one step. False when all is over."""
        self._admit()
        if self._order.expires:
            self._expire()
        job = self._order.pick(self._now)
        if job is not None:
            self._step(job)
        elif self._coming:
            self._now = self._coming[0].arrives_s
        return job is not None or bool(self._coming)

    def _admit(self) -> None:
        while self._coming and self._coming[0].arrives_s <= self._now:
            job = self._coming.popleft()
            if self._active[job.tenant] == self._most:
                continue
            self._active[job.tenant] += 1
            self._steps[job.name] = 0
            self._order.arrived(job)

    def _expire(self) -> None:
        for job in [self.outcomes[name].job for name in self._steps]:
            if job.deadline_s is not None and job.deadline_s <= self._now:
                self._leave(job)

    def _step(self, job: Job) -> None:
        outcome, step = self.outcomes[job.name], self._steps[job.name]
        if outcome.first_step_s is None:
            outcome.first_step_s = self._now
        self._now += job.steps[step]
        self._steps[job.name] = step + 1
        self._order.stepped(job, job.steps[step])
        if step + 1 == len(job.steps):
            outcome.done_s = self._now
            self._leave(job)

    def _leave(self, job: Job) -> None:
        self._order.left(job)
        del self._steps[job.name]
        self._active[job.tenant] -= 1
