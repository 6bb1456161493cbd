"""Finds work: reads the records that hints name, and lists `active/`, for hints get lost. `cycle.py` asks each turn.

What waits is put into `WaitingJobs`, what runs and is to be cancelled is stopped, what ended is retired.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from serving.director.events import Feed
from serving.director.queue.waiting import WaitingJobs
from serving.director.running import RunningJobs
from serving.errors import Corrupt, NotFound
from serving.jobs.active import Active
from serving.jobs.ids import JobKey
from serving.jobs.repository import Jobs
from serving.logs import logger

LIST_EVERY_S = 2.0
"""Wakes are only hints: `active/` is listed this often."""
LIST_SHARE = 20.0
"""A listing that takes long is repeated after so many times what it took,"""
LIST_AT_LEAST_EVERY_S = 20.0
"""but not later than this: a single slow answer of the store must leave nobody waiting."""
READ_AHEAD = 64
"""New jobs of one listing whose records are read for their age; the rest count from when they were first seen."""
HINT_S = 5.0
"""A hint whose record takes longer to read waits for the next listing: others are not to wait for it."""

_log = logger("director")


class Lookout:
    """Of one Director."""

    def __init__(
        self, jobs: Jobs, feed: Feed, waiting: WaitingJobs, running: RunningJobs, *, now_ms: Callable[[], int]
    ) -> None:
        self._jobs = jobs
        self._feed = feed
        self._waiting = waiting
        self._running = running
        self._now_ms = now_ms
        self._damaged: set[JobKey] = set()
        """Jobs whose records cannot be read."""
        self.list_at = 0.0
        """When the next listing is due, in the loop's seconds."""

    async def follow(self, hint: JobKey) -> None:
        """Look at the job that somebody spoke of."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HINT_S):
                await self._look(hint)

    async def list(self) -> None:
        """Read the `active/` keys; and look after running jobs that may be cancelled."""
        began = _now()
        seen: set[JobKey] = set()
        unread = READ_AHEAD
        async for active in self._jobs.active():
            key = active.tenant, active.id
            seen.add(key)
            if key in self._waiting or key in self._running or key in self._damaged:
                continue
            self._waiting.found(active, self._now_ms())
            if unread > 0:
                unread -= 1
                await self._look_or_retire(active)
        for key in [waiting.key for waiting in self._waiting if waiting.key not in seen]:
            await self._look(key)
        for key in self._running:
            await self._look(key)
        pause = max(LIST_EVERY_S, LIST_SHARE * (_now() - began))
        self.list_at = _now() + min(pause, LIST_AT_LEAST_EVERY_S)

    def leave_alone(self, key: JobKey, error: Exception) -> None:
        """A record that this version cannot read or run stays for one that can."""
        self._damaged.add(key)
        self._waiting.take(key)
        _log.error("job left alone", job=key[1], message=str(error), exc_info=error)

    async def _look_or_retire(self, active: Active) -> None:
        """Whoever ended a job may have died before its `active/` key was taken away."""
        if not await self._look((active.tenant, active.id)):
            await self._jobs.retire(active)

    async def _look(self, key: JobKey) -> bool:
        """Read one job's record: a new one is put in line, one that is to be cancelled is stopped.

        False when it has ended, and is to be retired.
        """
        try:
            record = await self._jobs.get(*key)
        except NotFound:
            self._waiting.take(key)
            return not await self._jobs.deleted(*key)
        except Corrupt as error:
            self.leave_alone(key, error)
            return True
        # What one front door wrote (a create, a cancellation) reaches the others; older versions are ignored there.
        self._feed.wrote(record)
        if key in self._running:
            self._running.cancel_if_asked(record)
        elif record.state.terminal:
            self._waiting.take(key)
            return False
        else:
            self._waiting.put(record)
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
