"""What must hold at every write, and at the end. `Ledger` watches the disk, the engine loops and what clients are told.

The rules are written down here once more, from the design and not from the code under test. A broken one raises
`Violation` at the very write that breaks it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

import numpy as np
from safetensors.numpy import load

from serving.jobs.record import JobRecord, JobState
from serving.requests import Kind
from serving.store.sweeping import STALE_S
from tests.sim import model
from tests.sim.chance import Chance
from tests.sim.crashes import Crashes
from tests.sim.known import Job
from tests.sim.loop import SimLoop
from tests.sim.process import Process
from tests.sim.prompt import Prompt
from tests.sim.published import Published, Violation, must
from tests.sim.reach import Reach
from tests.sim.shape import Shape
from tests.sim.store import Disk
from tests.sim.sweeps import Sweeps
from tests.sim.versions import Versions
from tests.sim.workers import Workers

_RECORD = re.compile(r"t/([^/]+)/jobs/([^/]+)\Z")
_IMMUTABLE = re.compile(r"t/[^/]+/(blobs|segments|cache|checkpoints)/")
_FOLLOWS = {
    JobState.QUEUED: {JobState.QUEUED, JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED},
    JobState.RUNNING: set(JobState) - {JobState.DELETED},
    JobState.SUCCEEDED: {JobState.DELETED},
    JobState.FAILED: {JobState.DELETED},
    JobState.CANCELLED: {JobState.DELETED},
    JobState.EXPIRED: {JobState.DELETED},
    JobState.DELETED: set[JobState](),
}
CALM_S = STALE_S + 60.0
"""In calm weather, a job ends within this. A dead collector may have announced that late."""
SLOWEST = 12
"""Steps, and films, that a slow job may wait for."""
HEARD_S = 10.0
"""In calm weather, a front door tells of an end after so long at the latest."""
COLLECTOR = "collector"
"""The one kind of process that deletes what is immutable."""


class Ledger:
    """Of one world."""

    def __init__(
        self,
        loop: SimLoop,
        disk: Disk,
        *,
        epoch_of: Callable[[Process], int | None],
        chance: Chance,
        calm_since: Callable[[], float | None],
        true_ms: Callable[[], int],
        shape: Shape,
        clocks_jump: bool,
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self.published = Published(disk)
        self._loop = loop
        self._disk = disk
        self._epoch_of = epoch_of
        self._chance = chance
        self._calm_since = calm_since
        self._true_ms = true_ms
        longest_s = shape.step_s[1]
        self._calm_s = CALM_S + SLOWEST * (longest_s + shape.render_s[1]) * shape.slow
        self.prompt = Prompt(
            loop, chance, true_ms=true_ms, calm_since=calm_since, clocks_jump=clocks_jump, step_s=longest_s
        )
        self.crashes = Crashes(disk, chance, self.jobs)
        self.reach = Reach(disk, self.jobs)
        self.versions = Versions()
        self.sweeps = Sweeps(disk, margin_s=shape.margin_s)
        self.workers = Workers(
            loop,
            disk,
            chance,
            self.jobs,
            self.prompt,
            self.crashes,
            step_s=longest_s,
            roomy=shape.roomy,
            checkpoint_share=shape.checkpoint_share,
        )

    # ── writes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def wrote(self, by: Process, key: str, before: bytes | None, after: bytes | None) -> None:
        """A write is about to take effect."""
        self.versions.wrote(by, key, before, after)
        if after is None:
            by_collector = by.name.startswith(COLLECTOR)
            self.reach.deleted(key, by_collector=by_collector)
            if by_collector:
                self.sweeps.deleted(key)
        found = _RECORD.match(key)
        if found is not None:
            if after is None:
                self._collected(by, key, before)
            else:
                self._record(by, before, JobRecord.decode(after))
        elif key.startswith("active/"):
            self._active(key, after)
        elif key.startswith("leases/") and after is not None:
            self.workers.lease(key, after)
        elif "/quarantine/" in key and after is not None:
            self.crashes.quarantined(key, json.loads(after)["job"])
        elif _IMMUTABLE.match(key):
            self._immutable(by, key, before, after)

    def _record(self, by: Process, before: bytes | None, record: JobRecord) -> None:
        epoch = self._epoch_of(by)
        if before is None:
            must(record.version == 1, f"{record.id}: its first version is {record.version}")
            there = any(_is_active_key(key, record) for key in self._disk.names("active/"))
            must(there, f"{record.id}: the record is there before its active/ key: no Director would ever see it")
            self.jobs[record.id] = Job(record, self._loop.now, self._loop.now, self._loop.now)
            self.reach.wrote(record)
            return
        was = JobRecord.decode(before)
        job = self.jobs[record.id]
        name = f"{record.id} v{record.version} by {by}"
        must(record.version == was.version + 1, f"{name}: follows v{was.version}: an update is lost")
        must(record.nonce != was.nonce, f"{name}: its nonce is that of the version before")
        must(record.state in _FOLLOWS[was.state], f"{name}: {was.state} became {record.state}")
        must(
            (was.request, was.plan, was.created_ms) == (record.request, record.plan, record.created_ms),
            f"{name}: the request or the plan changed",
        )
        must(record.attempt >= was.attempt, f"{name}: attempt {record.attempt} follows {was.attempt}")
        must(record.epoch >= was.epoch, f"{name}: epoch {record.epoch} follows {was.epoch}")
        must(record.cancel_requested or not was.cancel_requested, f"{name}: a cancellation is forgotten")
        if was.state.terminal:
            left = {"state", "version", "nonce", "events", "expires_ms", "next_note"}
            must(was.model_dump(exclude=left) == record.model_dump(exclude=left), f"{name}: a terminal record changed")
        if by.name.startswith(COLLECTOR):
            due = record.expires_ms
            must(record.state is JobState.DELETED, f"{name}: the collector made it {record.state}")
            must(due is not None and due <= self._true_ms(), f"{name}: its time is not over, {due} is to come")
        elif epoch is None:
            self._by_a_door(name, was, record)
        else:
            must(epoch >= was.epoch, f"{name}: a Director of epoch {epoch} writes after epoch {was.epoch} has")
            self._by_a_director(name, epoch, job, was, record)
        if record.cancel_requested and not was.cancel_requested:
            job.asked_to_cancel_at = self._loop.now
        if record.state.terminal and not was.state.terminal:
            self._in_time(name, job)
            self.prompt.ended(name, job, record)
            self.crashes.ended(name, job, record)
            job.ended_at = self._loop.now
        job.record = record
        self.reach.wrote(record)

    def _collected(self, by: Process, key: str, before: bytes | None) -> None:
        state = JobRecord.decode(before).state if before is not None else None
        must(
            state is JobState.DELETED and by.name.startswith(COLLECTOR), f"{key}: a record that is {state} was deleted"
        )

    def only_garbage_went(self) -> None:
        """After two margins in which nothing happened: nothing is there that nobody needs, and nothing else went."""
        left = self.reach.garbage()
        must(not left, f"{len(left)} keys that nobody needs are still there: {left[:4]}")
        self.nothing_is_missing()

    def nothing_is_missing(self) -> None:
        """Every living video is whole."""
        gone = self.reach.missing()
        must(not gone, f"{len(gone)} keys are gone that are needed: {gone[:4]}")
        for job in self.jobs.values():
            if job.record.state is not JobState.DELETED:
                self.published.whole(job.record)

    def _in_time(self, name: str, job: Job) -> None:
        calm = self._calm_since()
        if calm is not None:
            took = self._loop.now - max(calm, job.created_at)
            must(took < self._calm_s, f"{name}: in calm weather it took {took:.0f} s")

    def _by_a_door(self, name: str, was: JobRecord, record: JobRecord) -> None:
        same = ("attempt", "epoch", "segments", "images", "steps_done", "phase", "crashes", "faults")
        must(
            all(getattr(was, field) == getattr(record, field) for field in same),
            f"{name}: a door did a Director's work",
        )
        must(
            record.state in (was.state, JobState.CANCELLED, JobState.DELETED), f"{name}: a door made it {record.state}"
        )

    def _by_a_director(self, name: str, epoch: int, job: Job, was: JobRecord, record: JobRecord) -> None:
        if record.state is JobState.RUNNING or record.segments != was.segments or record.images != was.images:
            must(record.epoch == epoch, f"{name}: it carries epoch {record.epoch}, its writer has {epoch}")
        if record.attempt > was.attempt and was.state is JobState.RUNNING and was.epoch < epoch:
            self.workers.alone(name, was)
        must(
            record.segments[: len(was.segments)] == was.segments and record.images[: len(was.images)] == was.images,
            f"{name}: what was published is taken back",
        )
        new = (*record.segments[len(was.segments) :], *record.images[len(was.images) :])
        must(len(new) <= 1, f"{name}: {len(new)} segments in one write")
        if new:
            self.published.newest(name, record, self._expected(job))
        if record.state is JobState.SUCCEEDED:
            done = len(record.images) if record.request.kind is Kind.IMAGE else len(record.segments)
            must(done == len(record.plan.segments), f"{name}: it succeeded with {done} segments")
            must(record.steps_done == record.plan.total_steps, f"{name}: it succeeded after {record.steps_done} steps")
        if record.state is JobState.CANCELLED:
            must(record.cancel_requested, f"{name}: nobody asked to cancel it")
        if record.state is JobState.EXPIRED:
            due = record.deadline_ms
            must(due is not None and due <= (record.finished_ms or 0), f"{name}: its deadline {due} is to come")
        if was.state is JobState.QUEUED and record.state is JobState.RUNNING:
            must(record.attempt > was.attempt, f"{name}: it is claimed again, and it is attempt {record.attempt} still")
        if record.crashes > was.crashes:
            another = record.attempt > was.attempt or record.state is JobState.FAILED
            must(another, f"{name}: a crash is counted, and its attempt goes on")
            self.crashes.counted(name, job, record)
        if new:
            job.further_before_at, job.further_at = job.further_at, self._loop.now

    # ── other names ─────────────────────────────────────────────────────────────────────────────────────────────

    def _expected(self, job: Job) -> list[model.Made]:
        if job.expected is None:
            extends = job.record.request.extends
            parent = self.published.made[extends.segment] if extends else None
            job.expected = model.expected(job.record, parent, self._picture)
        return job.expected

    def _picture(self, tenant: str, digest: str) -> bytes:
        return self._disk.objects[f"t/{tenant}/blobs/{digest}"].data

    def _checkpoint(self, key: str, data: bytes) -> None:
        """It holds what the steps that it names give."""
        _, _, _, job_id, segment, _, name = key.split("/")
        job, tensors = self.jobs[job_id], load(data)
        made = self._expected(job)[int(segment) - job.record.plan.segments[0].index]
        right = made.steps[int(name.partition("-")[0])]
        must(np.array_equal(tensors["latents"], right), f"{key}: it holds other latents than its steps give")
        self.workers.saved(job, int(segment))

    def _immutable(self, by: Process, key: str, before: bytes | None, after: bytes | None) -> None:
        if after is None:
            must("/checkpoints/" in key or by.name.startswith(COLLECTOR), f"{key}: it was deleted")
            return
        must(before in (None, after), f"{key}: it was replaced")  # who read it wrong may write what is there
        if "/checkpoints/" in key:
            self._checkpoint(key, after)
        if "/blobs/" in key or "/segments/" in key:
            must(hashlib.sha256(after).hexdigest() == key.rpartition("/")[2], f"{key}: its name is not its digest")

    def _active(self, key: str, after: bytes | None) -> None:
        job = self.jobs.get(key.rpartition("/")[2])
        if after is None and job is not None and _is_active_key(key, job.record):
            must(
                job.record.state.terminal,
                f"{key} was deleted while the job is {job.record.state}: nobody sees it any more",
            )

    # ── clients, and the end ────────────────────────────────────────────────────────────────────────────────────

    def acknowledged(self, tenant: str, job: str) -> None:
        """A client has the id."""
        must(f"t/{tenant}/jobs/{job}" in self._disk.objects, f"{job} was acknowledged and is not in the store")

    def same(self, tenant: str, prompt: str) -> list[str]:
        """Jobs with this prompt: the same request, for every client asks for each but once."""
        records = [job.record for job in self.jobs.values()]
        return [
            record.id
            for record in records
            if (record.tenant, record.request.prompt) == (tenant, prompt) and record.state is not JobState.DELETED
        ]

    def listed(self, tenant: str, records: list[JobRecord]) -> None:
        """What a listing shows, page by page."""
        names = [record.id for record in records]
        there = [job.record for job in self.jobs.values()]
        want = {record.id for record in there if record.tenant == tenant and record.state is not JobState.DELETED}
        must(want == set(names), f"{tenant}: listed are {sorted(names)}, and there are {sorted(want)}")
        twice = sorted({name for name in names if names.count(name) > 1})
        must(not twice, f"{tenant}: {twice} are listed twice")

    def unheard(self, errors: list[tuple[Process, str, BaseException]]) -> None:
        """Tasks of living processes that have ended by these errors, and nobody ever looked at them."""
        for process, name, error in errors:
            raise Violation(f"{process}: {name} has ended, and nobody heard of it: {error!r}")

    def told(self, door: Process, record: JobRecord) -> None:
        """A client was told this."""
        job, calm = self.jobs[record.id], self._calm_since()
        if record.state.terminal or job.ended_at is None or calm is None:
            return
        late = self._loop.now - max(job.ended_at, calm)
        must(
            late < HEARD_S, f"{door} tells {record.id} is {record.state}, {late:.0f} s after it has {job.record.state}"
        )

    def at_rest(self) -> bool:
        """Whether every job has ended and left the active list."""
        ended = all(job.record.state.terminal for job in self.jobs.values())
        return ended and not self._left()

    def unrest(self) -> str:
        """What keeps the world from its end."""
        jobs = [job.record for job in self.jobs.values() if not job.record.state.terminal]
        lines = [
            f"  {record.id} is {record.state} at v{record.version}, attempt {record.attempt} of epoch {record.epoch}"
            for record in jobs
        ]
        return "\n".join([*lines, *self._left()])

    def _left(self) -> list[str]:
        """Active keys of jobs that are there. Those of creates that died before their record are tolerated."""
        left = []
        for key in self._disk.names("active/"):
            job = self.jobs.get(key.rpartition("/")[2])
            if job is not None:
                left.append(f"  {key} ({job.record.state})")
        return left

    def at_the_end(self) -> None:
        """All has come to rest."""
        for job in self.jobs.values():
            record = job.record
            must(record.state.terminal, f"{record.id} is still {record.state} (attempt {record.attempt})")
        must(self.at_rest(), f"ended jobs are still listed as active: {self._left()}")


def _is_active_key(key: str, record: JobRecord) -> bool:
    """Whether it is the one that all who look for the job find."""
    deadline = 99_999_999_999_999 if record.deadline_ms is None else record.deadline_ms
    wanted = f"/{record.tenant}/{record.priority}/{deadline:014d}/{record.id}"
    return key.startswith("active/") and key.endswith(wanted)
