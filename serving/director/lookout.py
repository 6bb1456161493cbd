"""Finds work: reads the records that hints name, and lists `active/`, for hints get lost. `director.py` has it list.

What waits is put into `WaitingJobs`, what runs and is to be cancelled is stopped, what ended is retired. A listing
compares keys alone: a record is read when somebody spoke of its job, when its key is new or gone, or in its turn.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Collection
from functools import partial

from serving.director.adoption import Adoption
from serving.director.aside import Aside
from serving.director.errands import Errands
from serving.director.events import Feed
from serving.director.queue.waiting import WaitingJobs
from serving.director.running import RunningJobs
from serving.errors import Corrupt
from serving.jobs.active import Active
from serving.jobs.ids import JobKey
from serving.jobs.record import JobState
from serving.jobs.repository import Jobs
from serving.logs import logger
from serving.metrics import DIRECTOR_STEP_SECONDS, Recorder

LIST_EVERY_S = 2.0
"""Wakes are only hints: `active/` is listed this often."""
LIST_SHARE = 20.0
"""Listings that take long are repeated after so many times what the shorter one of the last two took,"""
LIST_AT_LEAST_EVERY_S = 20.0
"""but not later than this: a single slow answer of the store must leave nobody waiting."""
KEYS_IN_A_ROW = 1000
"""A line may be a million long: after so many of it, whatever else waits for the loop is done."""
READ_AHEAD = 64
"""New jobs of one listing whose records are read before their turn comes: their work is known then."""
RUNNING_AT_ONCE = 16
RUNNING_ROUND = 15
"""With each listing so many running jobs are read, or this part of all: a hint to cancel may have been lost."""
LOST_AFTER_S = 600.0
"""By our own monotonic clock: a key of the list that had no record for so long gets none. No call to a front door takes
so long (`retention.margin_s` is not less); one that did would put its key again (`jobs/repository.py`)."""

_log = logger("director")


class Lookout:
    """Of one Director."""

    def __init__(
        self,
        jobs: Jobs,
        feed: Feed,
        waiting: WaitingJobs,
        running: RunningJobs,
        adoption: Adoption,
        errands: Errands,
        *,
        metrics: Recorder,
        now_ms: Callable[[], int],
        on_news: Callable[[], None],
    ) -> None:
        """`on_news`: somebody came into the line, or left it."""
        self._jobs = jobs
        self._feed = feed
        self._waiting = waiting
        self._running = running
        self._adoption = adoption
        self._errands = errands
        self._aside = Aside()
        self._metrics = metrics
        self._now_ms = now_ms
        self._on_news = on_news
        self._took = 0.0
        """The last listing, in seconds: one that was held up, or a Director that was, says nothing of the next."""
        self._round: list[JobKey] = []
        """Running jobs that are still to be read in this round."""

    def follow(self, hint: JobKey) -> None:
        """Look at the job that somebody spoke of, soon. Raises `Unavailable` when the Director is about to end."""
        self._aside.clear(hint)
        self._errands.ask(hint, "hear", partial(self._hear, hint))

    async def watch(self) -> None:
        """One listing, and the pause after it."""
        began = _now()
        await self._list()
        took = _now() - began
        self._metrics.observe(DIRECTOR_STEP_SECONDS, took, step="list")
        shorter, self._took = min(took, self._took), took
        await asyncio.sleep(min(max(LIST_EVERY_S, LIST_SHARE * shorter), LIST_AT_LEAST_EVERY_S))

    async def _list(self) -> None:
        """Compare the `active/` keys with what is known; of what a line of a million has, nothing is kept besides."""
        held = await self._adoption.held()
        self._waiting.listing_begins()
        aside = set(self._aside)
        new: list[Active] = []
        count = 0
        async for active in self._jobs.active():
            key = active.key
            aside.discard(key)
            count += 1
            if count % KEYS_IN_A_ROW == 0:
                new = _first(new)
                await asyncio.sleep(0)
            if self._waiting.listed(key) or self._known(key):
                continue
            if active.id in held:
                self._adoption.add(key)
                continue
            new.append(active)
            if key not in self._aside:
                now_ms = self._now_ms()
                self._waiting.found(active, now_ms if active.since_ms is None else min(active.since_ms, now_ms))
        self._adoption.listed()
        for active in _first(new):
            self._errands.ask(active.key, "hear", partial(self._look_or_retire, active))
        for key in (*self._waiting.unlisted(), *self._next_running()):
            self._errands.ask(key, "hear", partial(self._hear, key))
        self._aside.drop(aside)
        if new:
            self._on_news()

    def _known(self, key: JobKey) -> bool:
        """Whether there is nothing to be found out of a job that does not wait."""
        at_work = key in self._running or key in self._adoption
        return at_work or self._errands.busy(key) or self._aside.holds(key, _now())

    def _next_running(self) -> Collection[JobKey]:
        """Those whose turn it is to be read."""
        if not self._round:
            self._round = list(self._running)
        count = max(RUNNING_AT_ONCE, len(self._running) // RUNNING_ROUND)
        now, self._round = self._round[:count], self._round[count:]
        return now

    async def _look_or_retire(self, active: Active) -> None:
        """Whoever ended a job may have died before its `active/` key was taken away, or before it wrote a record."""
        if not await self._look(active.key):
            await self._jobs.retire(active)
        elif self._aside.known_s(active.key, _now()) > LOST_AFTER_S:
            await self._jobs.retire_lost(active)

    async def _hear(self, key: JobKey) -> None:
        await self._look(key)

    async def _look(self, key: JobKey) -> bool:
        """Read one job's record: a new one is put in line, one that is to be cancelled is stopped.

        False when it has ended, and is to be retired.
        """
        try:
            record = await self._jobs.newest(*key)
        except Corrupt as error:  # it stays for a version that can read it
            self.leave(key)
            _log.error("record cannot be read", job=key[1], message=error.message)
            return True
        if record is None:  # its create may be under way
            self.leave(key)
            return True
        # What one front door wrote (a create, a cancellation, a deletion) reaches the others.
        self._feed.wrote(record)
        if record.state is JobState.DELETED:
            self._waiting.take(key)
            return False
        if key in self._running:
            self._running.cancel_if_asked(record)
        elif record.state.terminal:
            self._waiting.take(key)
            self._on_news()
            return False
        elif key not in self._adoption:
            self._waiting.put(record)
            self._on_news()
        return True

    def leave(self, key: JobKey) -> None:
        """Set a job aside for a while: it has no record, or its record can be neither read nor run."""
        if self._waiting.take(key) is not None:
            self._on_news()
        self._aside.put(key, _now())


def _first(new: list[Active]) -> list[Active]:
    """Those to be read ahead."""
    return heapq.nsmallest(READ_AHEAD, new, key=_urgency)


def _urgency(active: Active) -> tuple[int, int]:
    return active.priority, active.since_ms or 0


def _now() -> float:
    return asyncio.get_running_loop().time()
