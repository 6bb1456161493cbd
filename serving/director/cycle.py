"""The Director's turns: wait, end, order, start. `director.py` makes the parts, and has this loop run.

No turn waits for the store. What is to be done there for one job is an errand (`errands.py`), many at once: jobs that
somebody spoke of are looked at (`lookout.py`), what is over is ended, the first in order are started. An errand that
changes the line begins the next turn. Jobs that wait stand in `queue/waiting.py`, their order is made by
`queue/schedule.py`, and each that runs is a task of `running.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial

from serving.director.claims import Claimed, Claims, Ended, Later, OfAnother
from serving.director.errands import Errands
from serving.director.events import Feed
from serving.director.lookout import Lookout
from serving.director.queue.schedule import Chosen, Schedule
from serving.director.queue.tickets import Waiting
from serving.director.queue.waiting import WaitingJobs
from serving.director.running import RunningJobs
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord
from serving.logs import logger
from serving.metrics import DIRECTOR_STEP_SECONDS, JOBS_RUNNING, JOBS_WAITING, Recorder
from serving.stages.contracts import Rank

RANKS_LIVE_S = 0.1
TURN_AT_LEAST_EVERY_S = 2.0
"""Places change by themselves: what was served counts, and what waits grows older."""
ENDS_AT_ONCE = 1000
"""Overdue jobs whose end is asked for at the same time: each that ends makes place for the next. A million deadlines
may pass at one moment, and what is asked for takes memory."""
ORDER_SHARE, LONGEST_PAUSE_S = 9.0, 0.1
"""After an order there is a pause of so many times what it took, to a limit: all else needs the loop too."""

_log = logger("director")


class Cycle:
    """Of one Director. `turn` is done for ever; all else may be called at any time from the same event loop."""

    def __init__(
        self,
        *,
        waiting: WaitingJobs,
        running: RunningJobs,
        lookout: Lookout,
        errands: Errands,
        schedule: Schedule,
        claims: Claims,
        feed: Feed,
        metrics: Recorder,
        now_ms: Callable[[], int],
    ) -> None:
        self._waiting = waiting
        self._running = running
        self._lookout = lookout
        self._errands = errands
        self._schedule = schedule
        self._claims = claims
        self._feed = feed
        self._metrics = metrics
        self._now_ms = now_ms
        self._news = asyncio.Event()
        self._first: deque[Chosen] = deque()
        """Whom to start, best first, as they were last ordered."""
        self._starting: dict[JobKey, Chosen] = {}
        self._ending: set[JobKey] = set()
        """Overdue jobs whose end was asked for."""
        self._ranked_at = float("-inf")

    def hear(self) -> None:
        """Begin the next turn soon: somebody came into the line or left it, or an attempt has ended."""
        self._news.set()

    def rank(self, record: JobRecord) -> Rank:
        """A slice's rank; ranks age, for what was served since counts."""
        if _now() - self._ranked_at > RANKS_LIVE_S:
            self._ranked_at = _now()
            self._schedule.rerank(self._running.in_hand())
        return self._schedule.rank(record)

    async def turn(self) -> None:
        """One turn, and the pause after it."""
        # 1. Wait until there is something to do.
        await self._wait()

        # 2. End what is overdue or cancelled: to claim it is to end it, unless its record has come to say otherwise.
        for over in (*self._overdue(), *self._waiting.cancelled()):
            self._errands.ask(over.key, "end", partial(self._claim, over, over.model))

        # 3. Order what waits and what runs.
        began = _now()
        self._order()
        took = _now() - began
        self._metrics.observe(DIRECTOR_STEP_SECONDS, took, step="order")

        # 4. Start the first ones, as many as there are places for; the next ones follow when a place is free.
        self._start_first()

        self._metrics.set(JOBS_WAITING, len(self._waiting))
        self._metrics.set(JOBS_RUNNING, len(self._running))
        await asyncio.sleep(min(ORDER_SHARE * took, LONGEST_PAUSE_S))

    def start_next(self) -> None:
        """A start is done: go on with those who come next, and when none is left, order anew."""
        self._start_first()
        if not self._first and len(self._waiting):
            self.hear()

    # ── errands ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self, start: Chosen) -> None:
        self._starting[start.job.key] = start
        try:
            await self._claim(start.job, start.model)
        finally:
            del self._starting[start.job.key]

    async def _claim(self, waiting: Waiting, model: str) -> None:
        """The record says from now on that we run it, and a task of its own runs it; or it is told why not.

        It stays in line until that is known: so it keeps its place and its slot, whatever the store does.
        """
        if waiting.key not in self._waiting:
            return
        found = await self._claims.claim(*waiting.key, model=model)
        if isinstance(found, OfAnother):
            self._waiting.put(found.record)
            self.hear()
            return
        if isinstance(found, Later):
            self._waiting.again(waiting, _now() + found.seconds)
            self.hear()
            return
        self._waiting.take(waiting.key)
        match found:
            case Claimed():
                self._running.start(found)
                return
            case Ended("gone"):
                self._lookout.leave(waiting.key)
            case Ended(why):
                _log.info("job not run", job=waiting.job, tenant=waiting.tenant, why=why)
        self.hear()

    # ── small parts ─────────────────────────────────────────────────────────────────────────────────────────────

    def _start_first(self) -> None:
        while self._first and self._errands.may_start():
            start = self._first.popleft()
            if start.job.key in self._waiting:
                self._errands.start(start.job.key, partial(self._start, start))

    async def _wait(self) -> None:
        """Until there is news, or something is due."""
        change = self._waiting.next_change(_now(), self._now_ms())
        due = TURN_AT_LEAST_EVERY_S if change is None else min(max(0.0, change), TURN_AT_LEAST_EVERY_S)
        # Not `wait_for`: on Python 3.11 it may swallow a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(due):
                await self._news.wait()
        self._news.clear()

    def _overdue(self) -> list[Waiting]:
        """Those to be ended, as many as there are places for."""
        self._ending = set(filter(self._errands.busy, self._ending))
        late = self._waiting.overdue(self._now_ms(), ENDS_AT_ONCE - len(self._ending))
        self._ending.update(job.key for job in late)
        return late

    def _order(self) -> None:
        self._ranked_at = _now()
        self._waiting.resume(_now())
        self._first = deque(self._schedule.choose(self._waiting, self._running.in_hand(), self._starting))
        self._feed.ranked(self._schedule.whys)


def _now() -> float:
    return asyncio.get_running_loop().time()
