"""The Director: one loop that hears of work, orders it, claims it and runs it.

`deployments/replicas.py` starts it in the ingress replica; nothing of Ray is in here. It is a cache over the store: it
takes an epoch when it starts, lists `active/`, and goes on from what the records and leases say. All stage calls are
made from tasks of this loop, never from inside a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from engines.families.base import Family
from serving.director.claims import Claimed, Claims, Later
from serving.director.context import RunContext
from serving.director.events import Batch, Feed
from serving.director.outcome import Running, carry_out
from serving.director.publish import Publisher, Superseded
from serving.director.queue.line import Key, Line, Waiting
from serving.director.queue.schedule import Schedule
from serving.director.run import JobRun
from serving.director.upkeep import keep_house, sign, vouch
from serving.errors import Corrupt, NotFound, StoreUnfit, Unavailable
from serving.estimates import Estimates, load, save
from serving.jobs.dead import DeadLetters
from serving.jobs.epoch import Epoch, EpochLost
from serving.jobs.lease import Leases, LeaseWatch
from serving.jobs.record import JobError, JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.logs import logger
from serving.metrics import JOBS_RUNNING, JOBS_WAITING, Recorder
from serving.segments.lineage import Segments
from serving.stages.contracts import Rank
from serving.stages.interface import Stages
from serving.store.base import Store

LIST_EVERY_S = 2.0
"""Wakes are only hints: `active/` is listed this often."""
LIST_SHARE = 20.0
"""A listing that takes long is repeated after so many times what it took,"""
LIST_AT_LEAST_EVERY_S = 20.0
"""but not later than this: a single slow answer of the store must leave nobody waiting."""
WATCH_S = 30.0
READ_AHEAD = 64
"""New jobs of one listing whose records are read for their age; the rest count from when they were first seen."""
LONGEST_PAUSE_S = 15.0
RANKS_LIVE_S = 0.25
SAVE_EVERY_S = 10.0

OVERDUE_EVERY_S = 0.5
HINT_S = 5.0
"""A hint whose record takes longer to read waits for the next listing: others are not to wait for it."""
_OF_ALL = (EpochLost, Unavailable, StoreUnfit)
"""What concerns all jobs, and not the one at which it was met."""

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
        servers: int = 1,
        weights: Mapping[str, float] | None = None,
        slice_s: float,
        metrics: Recorder,
        now_ms: Callable[[], int],
        incident: Callable[[], str],
        collect: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`collect` deletes what nobody needs any more; see `upkeep.keep_house`.

        `slots`: jobs that run at once, urgent ones aside. `servers`: Denoisers. `weights`: fair shares by tenant.
        """
        self.feed = Feed(epoch.number)
        self._store = store
        self._jobs = jobs
        self._epoch = epoch
        self._family = family
        self._metrics = metrics
        self._now_ms = now_ms
        self._incident = incident
        self._collect = collect
        self._schedule = Schedule(
            weights=weights or {}, servers=servers, slots=slots, estimates=Estimates(), now_ms=now_ms
        )
        self._context = RunContext(
            stages=stages,
            publisher=Publisher(jobs, epoch, self.feed, metrics, now_ms),
            epoch=epoch,
            leases=LeaseWatch(Leases(store), self._now),
            dead=DeadLetters(store),
            feed=self.feed,
            metrics=metrics,
            slice_s=slice_s,
            now_ms=now_ms,
            rank=self._rank,
            measured=self._schedule.measured,
        )
        self._claims = Claims(jobs, self._context)
        self._line = Line()
        self._running: dict[Key, Running] = {}
        self._losses: Counter[Key] = Counter()
        self._hints: set[Key] = set()
        self._damaged: set[Key] = set()
        """Jobs whose records cannot be read."""
        self._heard = asyncio.Event()
        self._list_at = 0.0
        self._ranked_at = float("-inf")
        self._saved_at = float("-inf")

    # ── what the ingress calls ──────────────────────────────────────────────────────────────────────────────────

    def wake(self, tenant: str, job: str) -> int:
        """A job is new, or is to be cancelled. Returns the epoch that heard it."""
        self._hints.add((tenant, job))
        self._heard.set()
        return self._epoch.number

    def watch(self, cursor: int, epoch: int) -> AsyncIterator[Batch]:
        """Everything that is told from `cursor` on, for `WATCH_S` seconds."""
        return self.feed.watch(cursor, epoch, seconds=WATCH_S)

    def backlog(self) -> dict[str, float]:
        """Seconds of predicted work that waits or runs, by stage: what the stages are scaled by."""
        return self._schedule.backlog(list(self._line), self._records())

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Work until cancelled. Raises `EpochLost` when a newer Director has started; its attempts stop unwritten."""
        _log.info("director started", epoch=self._epoch.number)
        await self._learn()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(vouch(self._epoch, self.feed))
                group.create_task(sign(self._epoch))
                group.create_task(self._work())
                group.create_task(self._end_overdue())
                if self._collect is not None:
                    group.create_task(keep_house(self._collect))
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
        """1 hear → 2 list → 3 end what is overdue → 4 order → 5 claim → 6 run (which publishes)."""
        for key in await self._hear():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HINT_S):
                    await self._look(*key)
        if self._now() >= self._list_at:
            await self._list()
        for waiting in self._line.overdue(self._now_ms()):
            await self._claim(waiting)
        for waiting in self._order():
            await self._claim(waiting)
        await self._keep_estimates()
        self._metrics.set(JOBS_WAITING, len(self._line))
        self._metrics.set(JOBS_RUNNING, len(self._running))

    async def _hear(self) -> set[Key]:
        """Wait for a hint, the end of an attempt, or the next moment that something is due; the jobs hinted at."""
        # Not `wait_for`: on Python 3.11 it may swallow a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._next_look() - self._now())):
                await self._heard.wait()
        self._heard.clear()
        hints, self._hints = self._hints, set()
        return hints

    async def _look(self, tenant: str, job: str) -> bool:
        """Read one job's record: a new one is put in line, one that is to be cancelled is stopped.

        False when it has ended, and is to be retired: whoever ended it may have died before that.
        """
        key = tenant, job
        try:
            record = await self._jobs.get(tenant, job)
        except NotFound:
            self._line.take(key)
            return not await self._jobs.deleted(tenant, job)
        except Corrupt as error:
            self._leave_alone(key, error)
            return True
        # What one front door wrote (a create, a cancellation) reaches the others; older versions are ignored there.
        self.feed.wrote(record)
        running = self._running.get(key)
        if running is not None:
            if record.cancel_requested and running.stopped_as is None:
                running.stop(JobState.CANCELLED)
        elif record.state.terminal:
            self._line.take(key)
            return False
        else:
            self._line.put(record)
        return True

    async def _list(self) -> None:
        """Read the `active/` keys, for hints get lost; and look after running jobs that may be cancelled."""
        began = self._now()
        seen: set[Key] = set()
        unread = READ_AHEAD
        async for active in self._jobs.active():
            key = active.tenant, active.id
            seen.add(key)
            if key in self._line or key in self._running or key in self._damaged:
                continue
            self._line.found(active, self._now_ms())
            if unread > 0:
                unread -= 1
                if not await self._look(*key):
                    await self._jobs.retire(active)
        for key in [waiting.key for waiting in self._line if waiting.key not in seen]:
            await self._look(*key)
        for key in list(self._running):
            await self._look(*key)
        pause = max(LIST_EVERY_S, LIST_SHARE * (self._now() - began))
        self._list_at = self._now() + min(pause, LIST_AT_LEAST_EVERY_S)

    def _order(self) -> list[Waiting]:
        self._ranked_at = self._now()
        return self._schedule.choose(self._line.ahead(self._now()), self._records())

    def _rank(self, record: JobRecord) -> Rank:
        """A slice's rank; ranks age, for what was served since counts."""
        if self._now() - self._ranked_at > RANKS_LIVE_S:
            self._order()
        return self._schedule.rank(record)

    def _records(self) -> list[JobRecord]:
        return [running.record for running in self._running.values()]

    async def _claim(self, waiting: Waiting) -> None:
        """Take it out of the line, and run it if it is ours to run."""
        self._line.take(waiting.key)
        try:
            claimed = await self._claims.claim(*waiting.key)
            if isinstance(claimed, Later):
                self._line.again(waiting, self._now() + claimed.seconds)
            elif claimed is not None:
                await self._start(claimed)
        except _OF_ALL:
            raise
        except Exception as error:  # noqa: BLE001  (the edge of one job: it must not end the Director of all others)
            self._leave_alone(waiting.key, error)

    async def _start(self, claimed: Claimed) -> None:
        record = claimed.record
        segments = Segments(self._store, record.tenant)
        try:
            family = self._family(record.plan.model)
        except ValueError as error:
            await self._give_up(record, str(error))
            return
        running = Running(
            JobRun(record, family=family, segments=segments, context=self._context, adopted=claimed.adopted)
        )
        self._running[record.tenant, record.id] = running
        running.task = asyncio.create_task(self._carry_out(running), name=f"job {record.id}")

    async def _carry_out(self, running: Running) -> None:
        key = running.record.tenant, running.record.id
        again = False
        try:
            again = await carry_out(running, self._context, self._incident)
        except EpochLost:
            _log.warning("attempt stopped: a newer Director has started", job=key[1])
        finally:
            del self._running[key]
            self._heard.set()
        if not again:
            self._losses.pop(key, None)
            return
        self._losses[key] += 1
        pause = min(LONGEST_PAUSE_S, 0.25 * 2 ** self._losses[key])
        self._line.put(running.record, not_before=self._now() + pause)

    async def _give_up(self, record: JobRecord, why: str) -> None:
        """Its model was taken out of this installation."""
        message = (
            f"{why}. When it is there again, an operator can run the job again: `longtake jobs requeue {record.id}`"
        )
        await self._context.dead.bury(record, stage="", why=why, quarantine=False)
        error = JobError(code="MODEL_UNKNOWN", message=message)
        with contextlib.suppress(Superseded):
            await self._context.publisher.finish(record, JobState.FAILED, {"error": error})

    def _leave_alone(self, key: Key, error: Exception) -> None:
        """A record that this version cannot read or run stays for one that can."""
        self._damaged.add(key)
        self._line.take(key)
        _log.error("job left alone", job=key[1], message=str(error), exc_info=error)

    # ── small parts ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _learn(self) -> None:
        """Go on with what earlier Directors measured."""
        try:
            self._schedule.estimates = await load(self._store)
        except (Unavailable, StoreUnfit, ValueError) as error:
            _log.warning("estimates not read, they are learnt anew", reason=str(error))

    async def _keep_estimates(self) -> None:
        if self._now() - self._saved_at > SAVE_EVERY_S:
            self._saved_at = self._now()
            await save(self._store, self._schedule.estimates)

    async def _end_overdue(self) -> None:
        """Stop what runs and is overdue; no slow answer of the store is in the way."""
        while True:
            now = self._now_ms()
            for running in self._running.values():
                deadline = running.record.deadline_ms
                if deadline is not None and deadline <= now and running.stopped_as is None:
                    running.stop(JobState.EXPIRED)
            await asyncio.sleep(OVERDUE_EVERY_S)

    def _next_look(self) -> float:
        """When there is something to do without a hint."""
        now, now_ms = self._now(), self._now_ms()
        change = self._line.next_change(now, now_ms)
        return min(self._list_at, now + max(0.0, LIST_EVERY_S if change is None else change))

    async def _stop(self) -> None:
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
