"""What the world owes its users soon: a cancellation and a deadline end a job, as soon as nothing else is wrong.

`quiet` is when the newest disturbance ended (`Chance.disturb`), and what died then has been started again. A world
that nothing ever disturbs owes it from the start. The `Ledger` asks at every step and at every end.
"""

from __future__ import annotations

from collections.abc import Callable

from serving.jobs.record import JobRecord, JobState
from tests.sim.chance import Chance
from tests.sim.known import Job
from tests.sim.loop import SimLoop
from tests.sim.published import must

SETTLED_S = 15.0
"""So long after the newest disturbance a Director works again, and knows all jobs."""
CANCELLED_S = 6.0
"""A cancellation takes effect within this: a listing, should its hint be lost, and a step."""
HEARD_S = 2.0
"""The same, of one that was asked for when nothing was wrong, so that its hint is not lost."""
EXPIRED_S = 1.5
"""A deadline does within this: it is looked at every half second."""
STEP_S = 1.0
"""The longest step of an ordinary world; where steps are longer, whoever is stopped may end the one that runs."""
JUMP_MS = 61_000
"""Clocks may be off by so much where they jump."""


class Prompt:
    """Of one world."""

    def __init__(
        self,
        loop: SimLoop,
        chance: Chance,
        *,
        true_ms: Callable[[], int],
        calm_since: Callable[[], float | None],
        clocks_jump: bool,
        step_s: float,
    ) -> None:
        """`step_s`: the longest step of this world."""
        self._loop = loop
        self._chance = chance
        self._true_ms = true_ms
        self._calm_since = calm_since
        self._clocks_jump = clocks_jump
        self._slower_s = max(0.0, step_s - STEP_S)

    def quiet_since(self) -> float:
        """When all had settled after the newest disturbance; before the world began if there was none."""
        return self._chance.disturbed_until + SETTLED_S

    def goes_on(self, name: str, job: Job) -> None:
        """The job is worked on, or has just ended by itself."""
        now = self._loop.now
        if job.asked_to_cancel_at is not None:
            late = now - max(job.asked_to_cancel_at, self.quiet_since())
            within = HEARD_S if job.asked_to_cancel_at >= self.quiet_since() else CANCELLED_S
            must(late < within + self._slower_s, f"{name}: it goes on {late:.1f} s after it was to be cancelled")
        overdue_s = self._overdue_s(job.record)
        if overdue_s is not None:
            late = min(overdue_s, now - self.quiet_since())
            must(late < EXPIRED_S + self._slower_s, f"{name}: it goes on {late:.1f} s after its deadline")

    def ended(self, name: str, job: Job, record: JobRecord) -> None:
        """The job has just ended."""
        self.goes_on(name, job)
        if record.state is JobState.EXPIRED:
            off_ms = JUMP_MS if self._clocks_jump else 1
            due = record.deadline_ms
            early = due is None or due > self._true_ms() + off_ms
            must(not early, f"{name}: it is EXPIRED at {self._true_ms()}, and its deadline is {due}")

    def _overdue_s(self, record: JobRecord) -> float | None:
        """How long its deadline is past; None if it is not, or nobody could know."""
        unknown = self._clocks_jump and self._calm_since() is None
        if record.deadline_ms is None or unknown or record.deadline_ms > self._true_ms():
            return None
        return (self._true_ms() - record.deadline_ms) / 1000
