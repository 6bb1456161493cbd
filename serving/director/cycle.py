"""The Director's turns: hear, list, end, order, claim, run. `director.py` makes the parts, and has this loop run.

Jobs that wait stand in `queue/waiting.py`, their order is made by `queue/schedule.py`, and each that runs is a task of
`running.py`. The store may be away: then a turn ends where it is, and the next one begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator

from serving.director.claims import Claimed, Claims, Ended, Later
from serving.director.events import Feed
from serving.director.lookout import LIST_EVERY_S, Lookout
from serving.director.queue.schedule import Schedule
from serving.director.queue.waiting import Waiting, WaitingJobs
from serving.director.running import RunningJobs
from serving.errors import StoreUnfit, Unavailable
from serving.estimates import load, save
from serving.jobs.epoch import EpochLost
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord
from serving.logs import logger
from serving.metrics import DIRECTOR_STEP_SECONDS, JOBS_RUNNING, JOBS_WAITING, Recorder
from serving.stages.contracts import Rank
from serving.store.base import Store

RANKS_LIVE_S = 0.25
SAVE_EVERY_S = 10.0
_OF_ALL = (EpochLost, Unavailable, StoreUnfit)
"""What concerns all jobs, and not the one at which it was met."""

_log = logger("director")


class Cycle:
    """Of one Director. `work` is its life; `hear` and `rank` may be called at any time from the same event loop."""

    def __init__(
        self,
        *,
        store: Store,
        waiting: WaitingJobs,
        running: RunningJobs,
        lookout: Lookout,
        schedule: Schedule,
        claims: Claims,
        feed: Feed,
        metrics: Recorder,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._waiting = waiting
        self._running = running
        self._lookout = lookout
        self._schedule = schedule
        self._claims = claims
        self._feed = feed
        self._metrics = metrics
        self._now_ms = now_ms
        self._heard = asyncio.Event()
        self._hints: set[JobKey] = set()
        self._ranked_at = float("-inf")
        self._saved_at = float("-inf")

    def hear(self, *hints: JobKey) -> None:
        """Begin the next turn soon: these jobs are new or to be cancelled, or an attempt has ended."""
        self._hints.update(hints)
        self._heard.set()

    def rank(self, record: JobRecord) -> Rank:
        """A slice's rank; ranks age, for what was served since counts."""
        if _now() - self._ranked_at > RANKS_LIVE_S:
            self._order()
        return self._schedule.rank(record)

    async def learn(self) -> None:
        """Go on with what earlier Directors measured."""
        try:
            self._schedule.estimates = await load(self._store)
        except (Unavailable, StoreUnfit, ValueError) as error:
            _log.warning("estimates not read, they are learnt anew", reason=str(error))

    async def work(self) -> None:
        """Turn after turn, for ever. Raises `EpochLost`."""
        while True:
            try:
                await self._turn()
            except (Unavailable, StoreUnfit) as error:
                _log.warning("the store is away", message=error.message)
                await asyncio.sleep(1.0)

    async def _turn(self) -> None:
        """One turn. The seconds of each step are observed, and none of the waiting before it."""
        hints = await self._wait()

        # 1. Hear: read the jobs that somebody spoke of.
        if hints:
            with self._timed("hear"):
                for hint in hints:
                    await self._lookout.follow(hint)

        # 2. List all jobs, for hints get lost.
        if _now() >= self._lookout.list_at:
            with self._timed("list"):
                await self._lookout.list()

        # 3. End what is overdue: to claim it is to end it, unless its record has come to say otherwise.
        with self._timed("end"):
            await self._end_overdue()

        # 4. Order what waits and what runs: whom to start, best first.
        with self._timed("order"):
            chosen = self._order()

        for waiting in chosen:
            # 5. Claim: the record says from now on that we run it.
            with self._timed("claim"):
                claimed = await self._claim(waiting)

            # 6. Run it, in a task of its own, which publishes what it makes.
            with self._timed("run"):
                await self._run(waiting, claimed)

        await self._keep_estimates()
        self._metrics.set(JOBS_WAITING, len(self._waiting))
        self._metrics.set(JOBS_RUNNING, len(self._running))

    async def _wait(self) -> set[JobKey]:
        """Until there is a hint, an attempt ends, or something is due; the jobs hinted at."""
        # Not `wait_for`: on Python 3.11 it may swallow a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._next_look() - _now())):
                await self._heard.wait()
        self._heard.clear()
        hints, self._hints = self._hints, set()
        return hints

    def _order(self) -> list[Waiting]:
        self._ranked_at = _now()
        chosen = self._schedule.choose(self._waiting.ahead(_now()), self._running.records())
        self._feed.ranked(self._schedule.whys)
        return chosen

    async def _end_overdue(self) -> None:
        """All of them. Where the store goes away meanwhile, the next turn goes on with those that are left."""
        late = deque(self._waiting.overdue(self._now_ms()))
        try:
            while late:
                waiting = late.popleft()
                await self._run(waiting, await self._claim(waiting))
        finally:
            self._waiting.due_still(late)

    async def _claim(self, waiting: Waiting) -> Claimed | None:
        """Take it out of the line; None if it is not to be run now."""
        self._waiting.take(waiting.key)
        with self._edge_of(waiting.key):
            try:
                found = await self._claims.claim(*waiting.key)
            except (Unavailable, StoreUnfit):  # nothing is known of it: its place is not lost
                self._waiting.back(waiting)
                raise
            match found:
                case Claimed() as claimed:
                    return claimed
                case Later(seconds):
                    self._waiting.again(waiting, _now() + seconds)
                case Ended(why):
                    _log.info("job not run", job=waiting.job, tenant=waiting.tenant, why=why)
        return None

    async def _run(self, waiting: Waiting, claimed: Claimed | None) -> None:
        if claimed is not None:
            with self._edge_of(waiting.key):
                await self._running.start(claimed)

    # ── small parts ─────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _edge_of(self, key: JobKey) -> Iterator[None]:
        """Around what is done for one job: its faults must not end the Director of all others."""
        try:
            yield
        except _OF_ALL:
            raise
        except Exception as error:  # noqa: BLE001  (see above)
            self._lookout.leave_alone(key, error)

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = _now()
        try:
            yield
        finally:
            self._metrics.observe(DIRECTOR_STEP_SECONDS, _now() - began, step=step)

    async def _keep_estimates(self) -> None:
        if _now() - self._saved_at > SAVE_EVERY_S:
            self._saved_at = _now()
            await save(self._store, self._schedule.estimates)

    def _next_look(self) -> float:
        """When there is something to do without a hint."""
        now, now_ms = _now(), self._now_ms()
        change = self._waiting.next_change(now, now_ms)
        return min(self._lookout.list_at, now + max(0.0, LIST_EVERY_S if change is None else change))


def _now() -> float:
    return asyncio.get_running_loop().time()
