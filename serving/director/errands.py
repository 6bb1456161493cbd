"""What the Director does at the store for one job each: look, end, adopt, start. Several at once, and none waits long.

`cycle.py` and `lookout.py` ask for them. Each takes some round trips, and one after the other they would hold up all
that come behind. So there are places: those of starts are their own, and the rest are given to the tenants in turn, so
that thousands of one tenant's jobs stand before nobody else's. For one job at most one errand is on its way; what is
asked for meanwhile comes after it. What an errand meets concerns its job alone: while it waits for a store that is
away it holds one place, and a fault of it is told to `on_fault`. Only `EpochLost` ends the group.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine

from serving.errors import StoreUnfit, Unavailable
from serving.jobs.epoch import EpochLost
from serving.jobs.ids import JobKey
from serving.logs import logger
from serving.metrics import DIRECTOR_STEP_SECONDS, Recorder

PLACES = 64
"""Errands at once, and as many starts besides."""
LONGEST_S = 30.0
"""An errand that takes longer is given up, and counts as met by a store that is away."""
PAUSE_S = 1.0
"""After that, in its place: a store that comes back is not met by all at once."""
RETRY_AFTER_S = 1.0
"""Then the Director that follows is there."""

Errand = Callable[[], Awaitable[None]]

_log = logger("director")


class Errands:
    """One Director's; used from its event loop."""

    def __init__(
        self, metrics: Recorder, *, on_fault: Callable[[JobKey, Exception], None], on_place: Callable[[], None]
    ) -> None:
        """`on_fault` is told of a job whose errand failed; `on_place`: a start may be made again."""
        self._metrics = metrics
        self._on_fault = on_fault
        self._on_place = on_place
        self._free = self._free_to_start = PLACES
        self._group: asyncio.TaskGroup | None = None
        self._busy: set[JobKey] = set()
        self._asked: dict[JobKey, dict[str, Errand]] = {}
        """What is to be done and has not begun, by what it is."""
        self._turns: dict[str, deque[JobKey]] = {}
        """The jobs with something to be done, by tenant; the first tenant is the next."""
        self._away = False

    def open(self, group: asyncio.TaskGroup) -> None:
        """Begin: errands are tasks of the group."""
        self._group = group
        self._go_on()

    def ask(self, key: JobKey, what: str, errand: Errand) -> None:
        """Do it in its tenant's turn. What is asked for already and has not begun is not done twice.

        Raises `Unavailable` once the group is ending.
        """
        asked = self._asked.get(key)
        if asked is not None:
            asked.setdefault(what, errand)
            return
        self._asked[key] = {what: errand}
        if key not in self._busy:
            self._turns.setdefault(key[0], deque()).append(key)
            self._go_on()

    def busy(self, key: JobKey) -> bool:
        """Whether something is being done or is to be done for it."""
        return key in self._busy or key in self._asked

    def may_start(self) -> bool:
        """Whether there is a place for a start."""
        return self._group is not None and self._free_to_start > 0

    def start(self, key: JobKey, errand: Errand) -> bool:
        """Start a job now; False when there is no place, or something else is on its way for it."""
        if self._group is None or not self._free_to_start or key in self._busy:
            return False
        self._free_to_start -= 1
        self._begin(key, self._starting(key, errand))
        return True

    # ── small parts ─────────────────────────────────────────────────────────────────────────────────────────────

    def _go_on(self) -> None:
        while self._group is not None and self._free and self._turns:
            tenant, jobs = next(iter(self._turns.items()))
            key = jobs.popleft()
            del self._turns[tenant]
            if jobs:
                self._turns[tenant] = jobs  # behind all others
            if key in self._busy or key not in self._asked:  # it was started meanwhile; `_end` brings it back
                continue
            asked = self._asked.pop(key)
            what = next(iter(asked))
            errand = asked.pop(what)
            if asked:
                self._asked[key] = asked
            self._free -= 1
            self._begin(key, self._doing(key, what, errand))

    def _begin(self, key: JobKey, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None
        self._busy.add(key)
        try:
            self._group.create_task(work)
        except RuntimeError as ending:
            work.close()
            raise Unavailable("this Director is about to end", retry_after_s=RETRY_AFTER_S) from ending

    async def _doing(self, key: JobKey, what: str, errand: Errand) -> None:
        done = await self._done(key, what, errand)
        self._free += 1
        self._end(key)
        if not done:
            self.ask(key, what, errand)
        self._go_on()

    async def _starting(self, key: JobKey, errand: Errand) -> None:
        await self._done(key, "claim", errand)  # what was not done is in line again, and started in its turn
        self._free_to_start += 1
        self._end(key)
        self._go_on()
        self._on_place()

    def _end(self, key: JobKey) -> None:
        self._busy.discard(key)
        if key in self._asked:  # it came meanwhile
            self._turns.setdefault(key[0], deque()).append(key)

    async def _done(self, key: JobKey, what: str, errand: Errand) -> bool:
        """False: the store is away, and it is to be done again."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LONGEST_S):
                await errand()
        except EpochLost:
            raise
        except (Unavailable, StoreUnfit, TimeoutError) as error:
            if not self._away:
                _log.warning("the store is away", at=what, job=key[1], message=str(error) or "no answer")
            self._away = True
            await asyncio.sleep(PAUSE_S)
            return False
        except Exception as error:  # noqa: BLE001  (the edge of a job: its faults must not end the Director of all others)
            self._on_fault(key, error)
            return True
        self._away = False
        self._metrics.observe(DIRECTOR_STEP_SECONDS, asyncio.get_running_loop().time() - began, step=what)
        return True
