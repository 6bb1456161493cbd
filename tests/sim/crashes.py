"""What a job costs its workers: a job that ends them comes to an end itself, and no other job does because of it.

Deadly work is modelled: a prompt that ends the Denoiser that steps it, a picture that ends the Conditioner that reads
it (`DEADLY` here and in `pictures.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.director.attempt import MAX_CRASHES
from serving.director.suspects import SUSPECT_FROM
from serving.jobs.record import JobRecord, JobState
from tests.sim.chance import Chance
from tests.sim.known import Job
from tests.sim.pictures import DEADLY_DIGEST
from tests.sim.published import must
from tests.sim.store import Disk

DEADLY = "deadly"
"""Such a prompt ends whoever steps it."""
EXCUSED = 60
"""Workers that a job may end while it may be the stage's fault: until others have come often enough."""
BESIDE, AGAIN = 3, 2
"""Workers that a job may lose to another one's fault: after the second it is kept apart from it. And so many more each
time that the other one is run again as a dead letter: nothing is held against it then."""


class Crashes:
    """Of one world."""

    def __init__(self, disk: Disk, chance: Chance, jobs: Mapping[str, Job]) -> None:
        self._disk = disk
        self._chance = chance
        self._jobs = jobs
        self._in_doubt_at = float("-inf")

    def deadly(self, job: str) -> bool:
        """Whether its steps end a Denoiser."""
        return self._jobs[job].record.request.prompt.startswith(DEADLY)

    def killed(self, job: str) -> None:
        """It has just ended its worker."""
        of = self._jobs[job]
        of.killed += 1
        self._chance.die_of_work()
        others = len(self._chance.losses) + self._chance.bad_calls  # a loss may go uncounted by either
        of.blamed += self._is_alone(of)
        must(
            of.blamed <= MAX_CRASHES + others and of.killed <= EXCUSED + others,
            f"{job} has ended {of.killed} workers, and its record counts {of.record.crashes}",
        )

    def _is_alone(self, job: Job) -> bool:
        """Whether nobody else ends workers, and all Directors of late have seen the stage work for others, since it was
        away too: a worker that dies while it is, counts against nobody.

        One that is innocent, and lost as many workers beside this one as a suspect does, looks as if it were the stage,
        until somebody gets further.
        """
        if any(self._looks_guilty(other.record) for other in self._jobs.values()):
            self._in_doubt_at = self._chance.now()
        lost_at = self._chance.losses[-1] if self._chance.losses else float("-inf")
        since = max(lost_at, self._in_doubt_at, self._chance.away_until)
        proven = any(other.further_at > max(since, other.created_at) for other in self._jobs.values())
        deadly = {other.record.requeue_of or other.record.id for other in self._jobs.values() if other.killed}
        return proven and deadly == {job.record.requeue_of or job.record.id}

    def _looks_guilty(self, record: JobRecord) -> bool:
        return record.crashes >= SUSPECT_FROM and not (record.state.terminal or self._harmful(record))

    def counted(self, name: str, job: Job, record: JobRecord) -> None:
        """Its record tells of a lost worker more than before."""
        of_work = self._chance.died_of_work
        if not self._harmful(record):
            records = (other.record for other in self._jobs.values())
            again = sum(other.requeue_of is not None and self._harmful(other) for other in records)
            of_work = min(BESIDE + AGAIN * again, of_work)
        # The next segment's Denoiser may be lost while one is still rendered, and be told of after that is published.
        since = job.further_before_at if record.crashes == 1 else job.further_at
        lost = self._chance.lost_since(since) + of_work
        must(record.crashes <= lost, f"{name}: {record.crashes} crashes since it got further, and {lost} crashed")

    def ended(self, name: str, job: Job, record: JobRecord) -> None:
        """A job has come to its end."""
        harmful = self._harmful(record)
        must(record.state is not JobState.SUCCEEDED or not harmful, f"{name}: it succeeded, and ends all its workers")
        if record.state is not JobState.FAILED:
            return
        code = record.error.code if record.error else "no reason"
        if code == "CORRUPT" and self._chance.flips:
            return
        must(code == "WORKERS_CRASHED", f"{name}: it failed with {code}: {record.error}")
        letter = f"dead/{record.tenant}/{record.id}"
        must(letter in self._disk.objects, f"{name}: it failed, and left no dead letter")
        must(harmful or self._unlucky(job), f"{name}: it failed with {code}, and nothing is wrong with it")

    def quarantined(self, key: str, job: str) -> None:
        """A picture is refused from now on, because of this job."""
        harmful = key.endswith(f"/{DEADLY_DIGEST}")
        must(harmful or self._unlucky(self._jobs[job]), f"{key}: a good picture is in quarantine")

    def _harmful(self, record: JobRecord) -> bool:
        if record.request.first_frame == DEADLY_DIGEST or DEADLY_DIGEST in record.request.references:
            return True
        return record.request.prompt.startswith(DEADLY)

    def _unlucky(self, job: Job) -> bool:
        """Whether so many workers went in so short a time that any job may fail."""
        return self._chance.lost_since(job.further_at) + BESIDE * bool(self._chance.died_of_work) >= MAX_CRASHES
