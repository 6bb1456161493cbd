"""The Director: one loop that hears of work, orders it, claims it and runs it.

`deployments/replicas.py` starts it in the ingress replica; nothing of Ray is in here. It is a cache over the store: it
takes an epoch when it starts, lists `active/`, and goes on from what the records say. All stage calls are made from
tasks of this loop, never from inside a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from engines.families.base import Family
from serving.director.attempt import MAX_ATTEMPTS, Again, Attempt, carry_out, exhausted
from serving.director.events import Batch, Feed
from serving.director.publish import Publisher, Superseded
from serving.director.queue import NO_DEADLINE, Waiting, choose
from serving.director.run import JobRun
from serving.director.stages import Stages
from serving.errors import NotFound, StoreUnfit, Unavailable
from serving.jobs.epoch import Epoch, EpochLost
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.logs import logger
from serving.metrics import JOBS_RUNNING, JOBS_WAITING, Recorder
from serving.segments.lineage import Segments
from serving.store.base import Store

LIST_EVERY_S = 2.0
"""Wakes are only hints: `active/` is listed this often, and more rarely when a listing takes long."""
BEAT_EVERY_S = 0.4
WATCH_S = 30.0
READ_AHEAD = 64
"""New jobs of one listing whose records are read for their age; the rest count from when they were first seen."""
LONGEST_PAUSE_S = 15.0

_log = logger("director")


class Director:
    """See the module. `run` is its life; `wake` and `watch` are called by the ingress."""

    def __init__(
        self,
        *,
        store: Store,
        jobs: Jobs,
        epoch: Epoch,
        stages: Stages,
        family: Callable[[str], Family],
        slots: int,
        slice_s: float,
        metrics: Recorder,
        now_ms: Callable[[], int],
        incident: Callable[[], str],
    ) -> None:
        self.feed = Feed(epoch.number)
        self._store = store
        self._jobs = jobs
        self._epoch = epoch
        self._stages = stages
        self._family = family
        self._slots = slots
        self._slice_s = slice_s
        self._metrics = metrics
        self._now_ms = now_ms
        self._incident = incident
        self._publisher = Publisher(jobs, epoch, self.feed, metrics, now_ms)
        self._waiting: dict[tuple[str, str], Waiting] = {}
        self._running: dict[tuple[str, str], Attempt] = {}
        self._losses: Counter[tuple[str, str]] = Counter()
        self._faults: Counter[tuple[str, str]] = Counter()
        self._served: dict[str, int] = {}
        self._hints: set[tuple[str, str]] = set()
        self._heard = asyncio.Event()
        self._list_at = 0.0

    # ── what the ingress calls ──────────────────────────────────────────────────────────────────────────────────

    def wake(self, tenant: str, job: str) -> int:
        """A job is new, or is to be cancelled. Returns the epoch that heard it."""
        self._hints.add((tenant, job))
        self._heard.set()
        return self._epoch.number

    def watch(self, cursor: int, epoch: int) -> AsyncIterator[Batch]:
        """Everything that is told from `cursor` on, for `WATCH_S` seconds."""
        return self.feed.watch(cursor, epoch, seconds=WATCH_S)

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Work until cancelled. Raises `EpochLost` when a newer Director has started; its attempts stop unwritten."""
        _log.info("director started", epoch=self._epoch.number)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._vouch())
                group.create_task(self._work())
        except* EpochLost as lost:
            raise lost.exceptions[0] from None
        finally:
            self.feed.close()
            await self._stop()

    async def _work(self) -> None:
        while True:
            try:
                await self._cycle()
            except (Unavailable, StoreUnfit) as error:
                _log.warning("the store is away", message=error.message)
                await asyncio.sleep(1.0)

    async def _cycle(self) -> None:
        """1 hear → 2 list → 3 order → 4 claim → 5 run (which publishes)."""
        for key in await self._hear():
            await self._look(*key)
        if self._now() >= self._list_at:
            await self._list()
        for waiting in self._order():
            record = await self._claim(waiting)
            if record is not None:
                self._start(record)
        self._metrics.set(JOBS_WAITING, len(self._waiting))
        self._metrics.set(JOBS_RUNNING, len(self._running))

    async def _hear(self) -> set[tuple[str, str]]:
        """Wait for a hint, the end of an attempt, or the next listing; the jobs that were hinted at."""
        # Not `wait_for`: on Python 3.11 it may swallow a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._next_look() - self._now())):
                await self._heard.wait()
        self._heard.clear()
        hints, self._hints = self._hints, set()
        return hints

    async def _look(self, tenant: str, job: str) -> None:
        """Read one job's record: a new one is put in line, one that is to be cancelled is stopped."""
        key = tenant, job
        try:
            record = await self._jobs.get(tenant, job)
        except NotFound:
            self._waiting.pop(key, None)
            return
        # What one front door wrote (a create, a cancellation) reaches the others; older versions are ignored there.
        self.feed.wrote(record)
        attempt = self._running.get(key)
        if attempt is not None:
            if record.cancel_requested and not attempt.cancelled_by_user:
                attempt.cancel()
        elif record.state.terminal:
            self._waiting.pop(key, None)
        else:
            self._await(record)

    async def _list(self) -> None:
        """Read the `active/` keys, for hints get lost; and look after running jobs that may be cancelled."""
        began = self._now()
        seen: set[tuple[str, str]] = set()
        unread = READ_AHEAD
        async for active in self._jobs.active():
            key = active.tenant, active.id
            seen.add(key)
            if key in self._waiting or key in self._running:
                continue
            self._waiting[key] = Waiting(
                active.tenant, active.id, active.priority, active.deadline_ms or NO_DEADLINE, self._now_ms()
            )
            if unread > 0:
                unread -= 1
                await self._look(*key)
        for key in [key for key in self._waiting if key not in seen]:
            await self._look(*key)
        for key in list(self._running):
            await self._look(*key)
        self._list_at = self._now() + max(LIST_EVERY_S, 20 * (self._now() - began))

    def _order(self) -> list[Waiting]:
        return choose(
            self._waiting.values(),
            running=Counter(tenant for tenant, _ in self._running),
            served=self._served,
            slots=self._slots - len(self._running),
            now=self._now(),
        )

    async def _claim(self, waiting: Waiting) -> JobRecord | None:
        """Take a job that nobody runs: queued, or left by an attempt of this Director or of an older one."""
        self._waiting.pop(waiting.key, None)
        try:
            record = await self._jobs.get(*waiting.key)
        except NotFound:
            return None
        if record.state.terminal:
            await self._jobs.retire(record)
            return None
        if record.epoch > self._epoch.number:
            await self._epoch.check()
        try:
            if record.cancel_requested:
                await self._publisher.finish(record, JobState.CANCELLED)
            elif record.attempt >= MAX_ATTEMPTS:
                await self._publisher.finish(record, JobState.FAILED, {"error": exhausted("it ended Directors too")})
            else:
                return await self._publisher.claim(record)
        except Superseded:
            self.wake(*waiting.key)
        return None

    def _start(self, record: JobRecord) -> None:
        run = JobRun(
            record,
            family=self._family(record.plan.model),
            stages=self._stages,
            segments=Segments(self._store, record.tenant),
            publisher=self._publisher,
            feed=self.feed,
            metrics=self._metrics,
            slice_s=self._slice_s,
        )
        attempt = Attempt(run)
        self._served[record.tenant] = max(self._served.values(), default=0) + 1
        self._running[record.tenant, record.id] = attempt
        attempt.task = asyncio.create_task(self._carry_out(attempt), name=f"job {record.id}")

    async def _carry_out(self, attempt: Attempt) -> None:
        record = attempt.run.record
        key = record.tenant, record.id
        again: Again | None = None
        try:
            again = await carry_out(attempt, self._publisher, faults=self._faults[key], incident=self._incident)
        except EpochLost:
            _log.warning("attempt stopped: a newer Director has started", job=record.id)
        finally:
            del self._running[key]
            self._heard.set()
        if again is None:
            self._losses.pop(key, None)
            self._faults.pop(key, None)
            return
        self._losses[key] += 1
        self._faults[key] += again.fault
        pause = min(LONGEST_PAUSE_S, 0.25 * 2 ** self._losses[key])
        self._await(record, not_before=self._now() + pause)

    # ── small parts ─────────────────────────────────────────────────────────────────────────────────────────────

    def _await(self, record: JobRecord, not_before: float = 0.0) -> None:
        key = record.tenant, record.id
        known = self._waiting.get(key)
        waiting = Waiting(
            record.tenant,
            record.id,
            record.priority,
            record.deadline_ms or NO_DEADLINE,
            record.created_ms,
            not_before,
        )
        self._waiting[key] = replace(waiting, not_before=known.not_before) if known and not not_before else waiting

    def _next_look(self) -> float:
        """When there is something to do without a hint."""
        pauses = [job.not_before for job in self._waiting.values() if job.not_before > self._now()]
        return min([self._list_at, *pauses])

    async def _vouch(self) -> None:
        """Beat while the epoch is ours: a front door may then answer from what it was told."""
        while True:
            try:
                await self._epoch.check()
            except (Unavailable, StoreUnfit) as error:
                _log.warning("no heartbeat, the store is away", message=error.message)
            else:
                self.feed.beat()
            await asyncio.sleep(BEAT_EVERY_S)

    async def _stop(self) -> None:
        tasks = [attempt.task for attempt in self._running.values() if attempt.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
