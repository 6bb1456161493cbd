"""What goes wrong at a stage: `test_away.py` and `test_blame.py` give it to the stages of a `Bureau`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Container

from serving.stage_names import StageName
from serving.stages.contracts import StageAway, StageLost

Trouble = Callable[[StageName, str], Awaitable[None]]
WORKS_S, DIES_S, STARTS_S = 1.0, 0.5, 0.5
"""A call's work at one of the `Replicas`; until a harmful one ends it; until there is another one."""


def refuses(stage: StageName) -> Trouble:
    """Its deployment failed: every call raises at once."""

    async def trouble(called: StageName, whose: str) -> None:
        if called == stage:
            raise StageAway("failed to deploy", cause="no_replica", stage=stage)

    return trouble


def kills(stage: StageName) -> Trouble:
    """Its machine's driver ends every process at its first call."""

    async def trouble(called: StageName, whose: str) -> None:
        if called == stage:
            await asyncio.sleep(0.1)
            raise StageLost("the worker died", stage=stage)

    return trouble


def kills_for(stage: StageName, poison: Container[str]) -> Trouble:
    """These jobs, or what they hand in, end their workers; all others are done."""

    async def trouble(called: StageName, whose: str) -> None:
        if called == stage:
            await asyncio.sleep(0.2)
            if whose in poison:
                raise StageLost("the worker died", stage=stage)

    return trouble


class Replicas:
    """A `Trouble`: so many replicas of a stage, each with room for so many calls. One that ends its worker ends all
    that are in it; another replica comes after a while.
    """

    def __init__(
        self, stage: StageName, count: int, room: int, harmful: Callable[[str], bool], *, told_s: float = 0.0
    ) -> None:
        """`harmful`: whether this job's calls, or what it hands in, end their worker. `told_s`: until the last of the
        others that were in it is told, one after the other.
        """
        self._stage = stage
        self._room = room
        self._harmful = harmful
        self._told_s = told_s
        self._up: dict[str, list[asyncio.Future[None]]] = {}
        """By name: for each call that is inside, what is set when the replica dies."""
        self._names = (f"r{number}" for number in itertools.count())
        self._changed = asyncio.Event()
        self.deaths = 0
        for _ in range(count):
            self._start()

    async def __call__(self, called: StageName, whose: str) -> None:
        if called != self._stage:
            return
        while (name := min(self._up, key=lambda name: len(self._up[name]), default="")) == "" or self._is_full(name):
            self._changed.clear()
            await self._changed.wait()
        died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        inside = self._up[name]
        inside.append(died)
        harmful = self._harmful(whose)
        await asyncio.wait({died}, timeout=DIES_S if harmful else WORKS_S)
        if name in self._up:
            inside.remove(died)
            self._changed.set()
            if not harmful:
                return
            self._die(name)
        else:
            await asyncio.wait({died})
        raise StageLost("the worker died", stage=self._stage, died=name)

    def _is_full(self, name: str) -> bool:
        return len(self._up[name]) >= self._room

    def _die(self, name: str) -> None:
        self.deaths += 1
        loop = asyncio.get_running_loop()
        others = self._up.pop(name)
        for number, died in enumerate(others, start=1):
            loop.call_later(self._told_s * number / len(others), died.set_result, None)
        loop.call_later(STARTS_S, self._start)

    def _start(self) -> None:
        self._up[next(self._names)] = []
        self._changed.set()
