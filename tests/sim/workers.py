"""Who works on a job: one replica at a time, for the Director of the day, and nothing twice that need not be.

The `Ledger` and the simulated engine loops tell it of leases, slices, steps and checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.jobs.lease import TTL_S, Lease
from serving.jobs.record import JobRecord
from serving.stages.contracts import SliceCall, SliceResult
from tests.sim.chance import Chance
from tests.sim.crashes import Crashes
from tests.sim.known import Job
from tests.sim.loop import SimLoop
from tests.sim.process import Process
from tests.sim.prompt import Prompt
from tests.sim.published import Violation, must
from tests.sim.store import Disk

OVERLAP_S = TTL_S + 4.0
"""Two replicas may work on one job for so long: until a lease is over, and a little for its slice and its store."""
IDLE_S = 2.0
"""A replica that stepped a job within this time works on it."""
LATE_S = 4.0
"""Steps may go on for so long after the job has ended."""
CHECKPOINT_COST_S = 0.08
"""At most, where nothing disturbs the store: some calls; a share of the work pays for it."""
SLICE_S = 5.5
"""A slice takes no longer. A checkpoint is written when it ends, and takes a while."""


class Workers:
    """Of one world."""

    def __init__(
        self,
        loop: SimLoop,
        disk: Disk,
        chance: Chance,
        jobs: Mapping[str, Job],
        prompt: Prompt,
        crashes: Crashes,
        *,
        step_s: float,
        roomy: bool,
        checkpoint_share: float,
    ) -> None:
        """`step_s`: the longest step. `roomy`: whether replicas hold all that they are given."""
        self._loop = loop
        self._disk = disk
        self._chance = chance
        self._jobs = jobs
        self._prompt = prompt
        self._crashes = crashes
        self._step_s = step_s
        self._roomy = roomy
        self._unsaved_s = CHECKPOINT_COST_S / checkpoint_share + SLICE_S + 2 * step_s
        self._leases_since: dict[str, float] = {}
        """When the present holder took the lease, by key."""
        self._began: dict[Process, float] = {}
        """When each replica did its first step."""
        self._epochs: dict[Process, int] = {}
        """The newest one for which each replica worked."""

    # ── leases ──────────────────────────────────────────────────────────────────────────────────────────────────

    def lease(self, key: str, after: bytes) -> None:
        """A lease was written."""
        lease = Lease.model_validate_json(after)
        if lease.beat == 0 and not lease.released:
            self._leases_since[key] = self._loop.now

    def alone(self, name: str, was: JobRecord) -> None:
        """A new Director begins another attempt: nobody may hold the one before."""
        key = f"leases/{was.id}/{was.attempt}"
        stored = self._disk.objects.get(key)
        if stored is None or Lease.model_validate_json(stored.data).released:
            return
        held = self._loop.now - self._leases_since[key]
        must(held < 2.0, f"{name}: its attempt {was.attempt} is held since {held:.1f} s, and another one begins")

    # ── slices ──────────────────────────────────────────────────────────────────────────────────────────────────

    def came(self, process: Process, call: SliceCall) -> None:
        """A replica is sent a slice."""
        self._jobs[call.job].came[process] = self._loop.now

    def outdated(self, process: Process, call: SliceCall) -> bool:
        """Whether the slice is of a Director whose successor this replica has worked for."""
        return call.epoch < self._epochs.get(process, 0)

    def answered(self, process: Process, call: SliceCall, result: SliceResult, *, outdated: bool) -> None:
        """A slice has ended."""
        name = f"{process}: a slice of {call.job} by epoch {call.epoch}"
        must(not outdated or result.stale, f"{name} was done after one of epoch {self._epochs.get(process)}")
        if not result.stale and result.from_step < call.steps:
            self._epochs[process] = max(call.epoch, self._epochs.get(process, 0))

    def broke(self, violation: Violation) -> None:
        """A rule was broken where nobody hears of it."""
        self._loop.after(0, _raise, violation)

    def deadly(self, job: str) -> bool:
        """Whether the job ends its worker, and has just done so."""
        if self._crashes.deadly(job):
            self._crashes.killed(job)
            return True
        return False

    def checkpointed(self, job: str, segment: int) -> int:
        """The step of the newest good checkpoint of a segment."""
        prefix = f"t/{self._jobs[job].record.tenant}/checkpoints/{job}/{segment:05d}/"
        steps = [int(key.rpartition("/")[2].partition("-")[0]) for key in self._disk.names(prefix)]
        return max(steps, default=0)

    def begins(self, process: Process, job: str, segment: int, *, step: int, saved: int) -> None:
        """A replica goes on at a step with what it did not hold; `saved`: the newest checkpoint when it looked."""
        wrong = self._chance.flips > 0  # it may have been read with a wrong bit, and is refused then
        must(
            step >= saved or wrong,
            f"{process} begins {job}/{segment} at step {step}, and there is a checkpoint of {saved}",
        )
        of, now = self._jobs[job], self._loop.now
        if of.ended_at is not None and of.came[process] <= of.ended_at:
            of.held_up[process] = now

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    def stepped(self, process: Process, job_id: str, segment: int, step: int, seconds: float) -> None:
        """A replica did one step in so many compute seconds."""
        job, now = self._jobs[job_id], self._loop.now
        if process.stopped_for == 0:
            if job.ended_at is not None:
                must(
                    now < self._over_at(process, job, job.ended_at) + self._step_s,
                    f"{process} steps {job_id} {now - job.ended_at:.1f} s after it ended as {job.record.state}",
                )
            else:
                self._prompt.goes_on(f"{process} steps {job_id}", job)
        began, last = job.workers.get(process, (now, now))
        began = began if now - last < IDLE_S + self._step_s else now
        job.workers[process] = (began, now)
        for other, (other_began, other_last) in job.workers.items():
            if other is not process and now - other_last < IDLE_S:
                both = now - max(began, other_began)
                must(
                    both < OVERLAP_S + 2 * self._step_s,
                    f"{process} and {other} have both worked on {job_id} for {both:.1f} s",
                )
        self._nothing_twice(process, job, segment, step, seconds)

    def _over_at(self, process: Process, job: Job, ended_at: float) -> float:
        """When nobody may step it any more. Its Director does not know yet who took a slice that has no answer: whoever
        reads its checkpoint until after the end may not hear of that, and does this one slice.
        """
        held_up = job.held_up.get(process)
        return max(ended_at + LATE_S, ended_at if held_up is None else held_up + SLICE_S)

    def _nothing_twice(self, process: Process, job: Job, segment: int, step: int, seconds: float) -> None:
        """Where nothing was disturbed since the job came, no step is done twice, and what is done is soon safe."""
        undisturbed = self._chance.disturbed_until < job.created_at
        began = self._began.setdefault(process, self._loop.now)
        cheap = self._chance.disturbed_until < min(job.created_at, began)  # it knows no checkpoint that was dear
        name = f"{process}: step {step} of {job.record.id}/{segment}"
        must(
            not undisturbed or not self._roomy or (segment, step) not in job.steps,
            f"{name} is done again, and nothing was lost",
        )
        job.steps.add((segment, step))
        unsaved = job.unsaved_s.get((process, segment), 0.0) + seconds
        job.unsaved_s[process, segment] = unsaved
        must(not cheap or unsaved < self._unsaved_s, f"{name}: {unsaved:.1f} s of work are in no checkpoint")

    def saved(self, job: Job, segment: int) -> None:
        """A checkpoint was written."""
        for process, of in list(job.unsaved_s):
            if of == segment:
                job.unsaved_s[process, of] = 0.0


def _raise(violation: Violation) -> None:
    raise violation
