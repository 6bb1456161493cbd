"""Calls between simulated processes, as Ray Serve's handles and gRPC make them.

A call outlives its caller's death. When its callee dies the caller is told after a while (`StageLost`); when its callee
is stopped, it waits. A fault tells the caller that the callee is gone although it works on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from serving.stages.contracts import StageLost
from tests.sim.chance import Chance
from tests.sim.loop import SimLoop
from tests.sim.process import Process

T = TypeVar("T")
NOTICED_S = (0.05, 1.5)
"""A death is noticed so late."""


class Network:
    """All connections of a world."""

    def __init__(self, loop: SimLoop, chance: Chance) -> None:
        self._loop = loop
        self._chance = chance

    def hop_s(self) -> float:
        """How long a message travels."""
        return self._chance.hop_s()

    def streamed_s(self) -> float:
        """How long a message of a stream does."""
        return self._chance.hop_s() + self._chance.lag_s()

    def loses(self) -> bool:
        """Whether a call to whoever is not reached is lost on its way there, and not its answer on the way back."""
        return self._chance.random.random() < 0.5

    async def call(self, caller: Process, callee: Process, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` in the callee; its result or error. Raises `StageLost` when the callee goes away."""
        loop, chance = self._loop, self._chance
        answer: asyncio.Future[T] = loop.create_future()
        running: list[asyncio.Task[T]] = []
        lost = partial(loop.after, 0, _fail, answer, callee, process=caller)

        def gone() -> None:
            loop.after(chance.pause_s(*NOTICED_S), lost)

        def arrive() -> None:
            task = callee.spawn(work(), name=f"call from {caller}")
            running.append(task)
            task.add_done_callback(back)
            if chance.faults.lost_answers and chance.random.random() < chance.faults.lost_answers:
                seconds = chance.pause_s(0.01, 1.0)
                chance.lose(seconds)
                loop.after(seconds, lost)

        def back(task: asyncio.Task[T]) -> None:
            if gone in callee.on_death:
                callee.on_death.remove(gone)
            if not task.cancelled():
                task.exception()  # looked at, though its caller may be dead
            loop.after(chance.hop_s(), _settle, answer, task, process=caller)

        if callee.alive:
            callee.on_death.append(gone)
            loop.after(chance.hop_s(), arrive, process=callee)
        else:
            gone()
        try:
            return await answer
        except asyncio.CancelledError:
            # Serve may take the call back, or it may not get there.
            if chance.random.random() < 0.5:
                loop.after(chance.hop_s(), _take_back, running, process=callee)
            raise


def _settle(answer: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        error: BaseException | None = StageLost("the call was taken back")
    else:
        error = task.exception()
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def _fail(answer: asyncio.Future[T], callee: Process) -> None:
    if not answer.done():
        answer.set_exception(StageLost(f"a replica went away ({callee})"))


def _take_back(running: list[asyncio.Task[Any]]) -> None:
    for task in running:
        task.cancel()
