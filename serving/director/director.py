"""The Director: it hears of work, orders it, claims it and runs it. Here its parts are put together.

`deployments/replicas.py` starts it in the ingress replica; nothing of Ray is in here. It is a cache over the store: it
takes an epoch when it starts, lists `active/`, and goes on from what the records and leases say. All stage calls are
made from tasks of its loop (`cycle.py`), never from inside a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from engines.families.base import Family
from serving.director.claims import Claims
from serving.director.context import RunContext
from serving.director.cycle import Cycle
from serving.director.events import Batch, Feed
from serving.director.lookout import Lookout
from serving.director.publish import Publisher
from serving.director.queue.schedule import Schedule
from serving.director.queue.waiting import WaitingJobs
from serving.director.running import RunningJobs
from serving.director.upkeep import keep_house, sign, vouch
from serving.estimates import Estimates
from serving.jobs.dead import DeadLetters
from serving.jobs.epoch import Epoch, EpochLost
from serving.jobs.lease import Leases, LeaseWatch
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.logs import logger
from serving.metrics import Recorder
from serving.stages.contracts import Rank
from serving.stages.interface import Stages
from serving.store.base import Store

WATCH_S = 30.0

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
        `slice_s`: the longest call to a Denoiser. `incident` makes a number for the logs.
        """
        self.feed = Feed(epoch.number)
        self._epoch = epoch
        self._collect = collect
        self._schedule = Schedule(
            weights=weights or {}, servers=servers, slots=slots, estimates=Estimates(), now_ms=now_ms
        )
        context = RunContext(
            stages=stages,
            publisher=Publisher(jobs, epoch, self.feed, metrics, now_ms),
            epoch=epoch,
            leases=LeaseWatch(Leases(store), lambda: asyncio.get_running_loop().time()),
            dead=DeadLetters(store),
            feed=self.feed,
            metrics=metrics,
            slice_s=slice_s,
            now_ms=now_ms,
            rank=self._rank,
            measured=self._schedule.measured,
        )
        self._waiting = WaitingJobs()
        self._running = RunningJobs(
            store=store,
            context=context,
            family=family,
            waiting=self._waiting,
            incident=incident,
            on_end=self._hear,
        )
        self._cycle = Cycle(
            store=store,
            waiting=self._waiting,
            running=self._running,
            lookout=Lookout(jobs, self.feed, self._waiting, self._running, now_ms=now_ms),
            schedule=self._schedule,
            claims=Claims(jobs, context),
            feed=self.feed,
            metrics=metrics,
            now_ms=now_ms,
        )

    # ── what the ingress calls ──────────────────────────────────────────────────────────────────────────────────

    def wake(self, tenant: str, job: str) -> int:
        """A job is new, or is to be cancelled. Returns the epoch that heard it."""
        self._cycle.hear((tenant, job))
        return self._epoch.number

    def watch(self, cursor: int, epoch: int) -> AsyncIterator[Batch]:
        """Everything that is told from `cursor` on, for `WATCH_S` seconds."""
        return self.feed.watch(cursor, epoch, seconds=WATCH_S)

    def backlog(self) -> dict[str, float]:
        """Seconds of predicted work that waits or runs, by stage: what the stages are scaled by."""
        return self._schedule.backlog(list(self._waiting), self._running.records())

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Work until cancelled. Raises `EpochLost` when a newer Director has started; its attempts stop unwritten."""
        _log.info("director started", epoch=self._epoch.number)
        await self._cycle.learn()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(vouch(self._epoch, self.feed))
                group.create_task(sign(self._epoch))
                group.create_task(self._cycle.work())
                group.create_task(self._running.end_overdue())
                if self._collect is not None:
                    group.create_task(keep_house(self._collect))
        except* EpochLost as lost:
            raise lost.exceptions[0] from None
        finally:
            self.feed.close()
            await self._running.stop()

    def _hear(self) -> None:
        self._cycle.hear()

    def _rank(self, record: JobRecord) -> Rank:
        return self._cycle.rank(record)
