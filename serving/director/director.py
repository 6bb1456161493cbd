"""The Director: it hears of work, orders it, claims it and runs it. Here its parts are put together.

`deployments/director_replica.py` starts it in the ingress replica; nothing of Ray is in here. It is a cache over the
store: it takes an epoch when it starts, lists `active/`, and goes on from what the records and leases say. All stage
calls are made from tasks of its loop (`cycle.py`), never from inside a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

from serving.director.adoption import Adoption
from serving.director.claims import Claims
from serving.director.context import RunContext
from serving.director.cycle import Cycle
from serving.director.errands import Errands
from serving.director.events import Batch, Feed
from serving.director.lookout import Lookout
from serving.director.publish import Publisher
from serving.director.queue.backlog import Backlog, backlogs
from serving.director.queue.schedule import Schedule
from serving.director.queue.waiting import WaitingJobs
from serving.director.running import RunningJobs
from serving.director.served import Served, ServedModels
from serving.director.stage_gate import StageGates
from serving.director.steady import steadily
from serving.director.upkeep import keep, learn, measure, sign, vouch
from serving.errors import alone
from serving.estimates import Estimates
from serving.jobs.dead import DeadLetters
from serving.jobs.epoch import Epoch, EpochLost
from serving.jobs.ids import JobKey
from serving.jobs.lease import Leases, LeaseWatch
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.logs import logger
from serving.metrics import Recorder
from serving.stages.contracts import Rank
from serving.store.base import Store
from serving.traces.spans import UNTRACED, Traces

WATCH_S = 30.0
COLLECT_AFTER_S = 10.0
"""First come the jobs that another Director left: the collector's start would take a core from them."""

_log = logger("director")


class Director:
    """See the module. `run` is its life; `wake` and `watch` are called by the ingress."""

    def __init__(
        self,
        *,
        store: Store,
        jobs: Jobs,
        epoch: Epoch,
        models: Mapping[str, Served],
        weights: Mapping[str, float] | None = None,
        slice_s: float,
        metrics: Recorder,
        now_ms: Callable[[], int],
        incident: Callable[[], str],
        collect: Callable[[], Awaitable[None]] | None = None,
        traces: Traces = UNTRACED,
    ) -> None:
        """`collect` has deleted what nobody needs any more, for as long as this Director works.

        `models`: those that are served, by name; `serve` tells of others later. `weights`: fair shares by tenant.
        `slice_s`: the longest call to a Denoiser. `incident` makes a number for the logs.
        """
        self.feed = Feed(epoch.number)
        self._store = store
        self._epoch = epoch
        self._incident = incident
        self._collect = collect
        self._metrics = metrics
        self._models = ServedModels(models)
        self._schedule = Schedule(
            weights=weights or {}, models=self._models.capacities, estimates=Estimates(), now_ms=now_ms
        )
        leases = Leases(store)
        context = RunContext(
            models=self._models,
            publisher=Publisher(jobs, epoch, self.feed, metrics, traces, now_ms),
            epoch=epoch,
            leases=LeaseWatch(leases, lambda: asyncio.get_running_loop().time()),
            dead=DeadLetters(store),
            feed=self.feed,
            metrics=metrics,
            traces=traces,
            slice_s=slice_s,
            now_ms=now_ms,
            rank=self._rank,
            measured=self._schedule.measured,
            gates=StageGates(self.feed, metrics, self._models.replicas, now_ms=now_ms),
        )
        claims = Claims(jobs, context)
        self._waiting = WaitingJobs()
        self._running = RunningJobs(
            store=store,
            context=context,
            waiting=self._waiting,
            incident=incident,
            on_end=self._hear,
        )
        self._errands = Errands(metrics, on_fault=self._leave, on_place=self._start_next)
        self._adoption = Adoption(leases, claims, self._waiting, self._running, self._errands, on_news=self._hear)
        self._lookout = Lookout(
            jobs,
            self.feed,
            self._waiting,
            self._running,
            self._adoption,
            self._errands,
            metrics=metrics,
            now_ms=now_ms,
            on_news=self._hear,
        )
        self._cycle = Cycle(
            waiting=self._waiting,
            running=self._running,
            lookout=self._lookout,
            errands=self._errands,
            schedule=self._schedule,
            claims=claims,
            feed=self.feed,
            metrics=metrics,
            now_ms=now_ms,
        )

    # ── what the ingress calls ──────────────────────────────────────────────────────────────────────────────────

    def wake(self, tenant: str, job: str) -> int:
        """A job is new, or is to be cancelled. Returns the epoch that heard it.

        Raises `Unavailable` in the Director's last moments: another one is about to come, or has come.
        """
        self._lookout.follow((tenant, job))
        return self._epoch.number

    def watch(self, cursor: int, epoch: int) -> AsyncIterator[Batch]:
        """Everything that is told from `cursor` on, for `WATCH_S` seconds."""
        return self.feed.watch(cursor, epoch, seconds=WATCH_S)

    def serve(self, models: Mapping[str, Served]) -> None:
        """These models from now on, and no others. Jobs of one that is gone wait until it is back."""
        self._models.serve(models)
        self._schedule.models = self._models.capacities
        self._hear()

    def backlogs(self) -> dict[str, Backlog]:
        """The predicted work that waits or runs, by model: what the stages are scaled by."""
        models = self._schedule.models
        return backlogs(models, self._waiting, self._running.in_hand(), self._schedule.estimates)

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Work until cancelled. Raises `EpochLost` when a newer Director has started; its attempts stop unwritten."""
        _log.info("director started", epoch=self._epoch.number)
        await learn(self._store, self._schedule)
        collecting = asyncio.create_task(self._collect_beside(), name="collect")
        try:
            async with asyncio.TaskGroup() as group:
                self._errands.open(group)
                for what, step in self._loops().items():
                    group.create_task(steadily(what, step, self._incident), name=what)
        except BaseExceptionGroup as ended:
            raise alone(ended, EpochLost) from None
        finally:
            self.feed.close()
            await self._running.stop()
            # Last: a batch of deletes that has begun is waited for, and holds up nobody who goes to the next Director.
            collecting.cancel()
            await asyncio.wait({collecting})

    def _loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What is done for ever, each beside the others."""
        return {
            "vouch": partial(vouch, self._epoch, self.feed),
            "sign": partial(sign, self._epoch),
            "list": self._lookout.watch,
            "adopt": self._adoption.watch,
            "turn": self._cycle.turn,
            "end what runs": self._running.end_overdue,
            "keep estimates": partial(keep, self._store, self._schedule),
            "measure": partial(measure, self.backlogs, self._metrics),
        }

    async def _collect_beside(self) -> None:
        if self._collect is not None:
            await asyncio.sleep(COLLECT_AFTER_S)
            await steadily("collect", self._collect, self._incident)

    def _hear(self) -> None:
        self._cycle.hear()

    def _start_next(self) -> None:
        self._cycle.start_next()

    def _leave(self, key: JobKey, error: Exception) -> None:
        _log.error("job left alone for a while", incident=self._incident(), job=key[1], exc_info=error)
        self._adoption.drop(key)
        self._lookout.leave(key)

    def _rank(self, record: JobRecord) -> Rank:
        return self._cycle.rank(record)
