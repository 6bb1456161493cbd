"""What the Denoisers of a Director that died are doing goes on: a new one adopts it before anything else.

`lookout.py` hands it, with its first listing, the jobs that have a lease; nobody waits for their turn in the queue, for
a replica that hears of no Director lets go after a while. Those whose lease is silent or let go wait in line like all
others. All leases are watched together: none of them is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from serving.director.claims import Claimed, Claims, Later
from serving.director.errands import Errands
from serving.director.queue.waiting import WaitingJobs
from serving.director.running import RunningJobs
from serving.jobs.ids import JobKey
from serving.jobs.lease import Leases
from serving.jobs.record import JobRecord

LOOK_EVERY_S = 0.25
"""At the leases of which nothing is known yet. There are as many as jobs ran at once, and for the time of a lease."""


class Adoption:
    """Of one Director's start."""

    def __init__(
        self,
        leases: Leases,
        claims: Claims,
        waiting: WaitingJobs,
        running: RunningJobs,
        errands: Errands,
        *,
        on_news: Callable[[], None],
    ) -> None:
        """`on_news`: somebody came into the line."""
        self._leases = leases
        self._claims = claims
        self._waiting = waiting
        self._running = running
        self._errands = errands
        self._on_news = on_news
        self._held: frozenset[str] | None = None
        self._unsure: set[JobKey] = set()
        self._any = asyncio.Event()
        """Set while there are such."""

    def __contains__(self, key: JobKey) -> bool:
        """Whether it is not known yet if the job's attempt lives."""
        return key in self._unsure

    async def held(self) -> frozenset[str]:
        """The ids of jobs that had a lease when this Director started; nobody once all of them were listed."""
        if self._held is None:
            self._held = frozenset([job async for job in self._leases.jobs()])
        return self._held

    def listed(self) -> None:
        """A listing has come to its end: whoever comes later was started by this Director."""
        self._held = frozenset()

    def add(self, key: JobKey) -> None:
        """A job that may be at work."""
        self._unsure.add(key)
        self._any.set()
        self._look(key)

    def drop(self, key: JobKey) -> None:
        """It cannot be adopted."""
        self._unsure.discard(key)

    async def watch(self) -> None:
        """Look at all leases once more, a little later; where nothing is unsure, once something is."""
        await self._any.wait()
        await asyncio.sleep(LOOK_EVERY_S)
        for key in sorted(self._unsure):
            self._look(key)
        if not self._unsure:
            self._any.clear()

    def _look(self, key: JobKey) -> None:
        self._errands.ask(key, "adopt", partial(self._adopt, key))

    async def _adopt(self, key: JobKey) -> None:
        if key not in self._unsure:
            return
        match await self._claims.adopt(*key):
            case Later():
                return
            case Claimed() as claimed:
                self._unsure.discard(key)
                self._running.start(claimed)
            case JobRecord() as record:
                self._unsure.discard(key)
                self._waiting.put(record)
                self._on_news()
            case None:
                self._unsure.discard(key)
