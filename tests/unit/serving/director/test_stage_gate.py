"""What is known of a stage's replicas, and what it costs that many calls wait."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from random import Random
from types import FrameType
from typing import Any, Self

import pytest

from serving.director.events import Feed
from serving.director.stage_gate import LOOK_EVERY_S, Caller, StageGates
from serving.jobs.ids import JobKey
from serving.metrics import Unrecorded
from serving.stage_names import DENOISER, RENDERER, ModelStage, StageName
from serving.stages.contracts import StageAway
from tests.sim.loop import SimLoop
from tests.unit.serving.director.simulated import Gauges

RENDERING, DENOISING = ModelStage("tiny", RENDERER), ModelStage("tiny", DENOISER)


def test_a_count_that_is_old_is_not_believed_while_a_new_one_is_on_its_way() -> None:
    up = 0

    async def replicas(_: str) -> Mapping[StageName, int]:
        await asyncio.sleep(1.0)  # Serve's controller is busy
        return {RENDERER: up}

    async def play() -> None:
        nonlocal up
        gauges = Gauges()
        gates = StageGates(Feed(1), gauges, replicas, now_ms=lambda: 0)
        await gates.look((RENDERING,))
        up = 1
        await asyncio.sleep(LOOK_EVERY_S)
        callers = [Caller(("t", name), name) for name in ("vid_1", "vid_2")]
        for caller in callers:
            await gates.enter((RENDERING,), caller)

        await asyncio.gather(*(gates.look((RENDERING,)) for _ in callers))

        assert not gauges.values, "it was told to be away"

    _simulated(play())


def test_a_count_that_fails_fails_no_call_and_is_not_taken_for_none() -> None:
    async def replicas(_: str) -> Mapping[StageName, int]:
        if counted:
            raise AttributeError("another version of Serve")
        counted.append(1)
        return {RENDERER: 1}

    counted: list[int] = []

    async def play() -> None:
        gauges = Gauges()
        gates = StageGates(Feed(1), gauges, replicas, now_ms=lambda: 0)
        await gates.enter((RENDERING,), Caller(("t", "vid_1"), "vid_1"))
        for _ in range(3):
            await gates.look((RENDERING,))
            await asyncio.sleep(LOOK_EVERY_S)
        assert not gauges.values

    _simulated(play())


class CountedFeed(Feed):
    """How often it was told who is held up."""

    told = 0

    def held_up(self, jobs: Mapping[JobKey, str], away: Mapping[str, str]) -> None:
        self.told += 1
        super().held_up(jobs, away)


class Crowd:
    """So many calls that wait at a gate."""

    def __init__(self, size: int, *, ends_workers: bool) -> None:
        self.feed = CountedFeed(1)
        self.gates = StageGates(self.feed, Unrecorded(), _nobody_counts, now_ms=lambda: 0)
        self.tries = 0
        self.back = False
        if ends_workers:
            for name in "ab":
                self.gates.lost(RENDERING, Caller(("t", name), name), alone=True)
        else:
            self._refused()
        self.tasks = [asyncio.ensure_future(self._job(Caller(("t", str(n)), str(n)))) for n in range(size)]

    async def _job(self, caller: Caller) -> None:
        stages = (ModelStage("tiny", DENOISER), RENDERING)
        try:
            while True:
                await self.gates.enter(stages, caller)
                self.tries += 1
                await asyncio.sleep(0.01)
                if self.back:
                    self.gates.answered(stages, caller, finished=True)
                    return
                self._refused()
                self.gates.left(stages, caller)
        finally:
            self.gates.left(stages, caller)

    def _refused(self) -> None:
        self.gates.refused(RENDERING, StageAway("", cause="no_replica", stage=RENDERER))


@pytest.mark.parametrize("ends_workers", [False, True])
def test_what_a_change_costs_does_not_grow_with_those_that_wait_and_is_told_once_a_turn(ends_workers: bool) -> None:
    async def play() -> None:
        size = 300
        crowd = Crowd(size, ends_workers=ends_workers)
        with Steps() as coming:
            await asyncio.sleep(0.05)
        with Steps() as trying:
            await asyncio.sleep(100.0)
        tries, told = crowd.tries, crowd.feed.told
        assert 10 < tries < 30
        assert told < 6 * tries
        for task in crowd.tasks[: size // 2]:
            task.cancel()
        with Steps() as leaving:
            await asyncio.sleep(0.001)
        assert crowd.feed.told <= told + 3
        crowd.back = True
        with Steps() as going:
            await asyncio.gather(*crowd.tasks[size // 2 :])

        assert coming.count < 40 * size
        assert trying.count < 100 * tries
        assert leaving.count < 40 * size
        assert going.count < 60 * size

    _simulated(play())


class Steps:
    """Counts the functions that the gates run, and the turns that their coroutines and generators take."""

    def __init__(self) -> None:
        self.count = 0

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        self.count += event == "call" and "serving/director/stage_" in frame.f_code.co_filename

    def __enter__(self) -> Self:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


async def _nobody_counts(_: str) -> Mapping[StageName, int]:
    return {}


@pytest.mark.parametrize("first", [RENDERING, DENOISING])
@pytest.mark.parametrize(("here", "there"), [(1, 1), (2, 1), (2, 2), (3, 2), (5, 5), (1, 3)])
def test_two_stages_that_are_away_are_tried_by_whoever_needs_both(first: ModelStage, here: int, there: int) -> None:
    """Their tries are due at one moment. The first in each line must not go to the other's end."""
    entered: list[str] = []

    async def replicas(_: str) -> Mapping[StageName, int]:
        return {}

    async def play() -> None:
        gates = StageGates(Feed(1), Unrecorded(), replicas, now_ms=lambda: 0, chance=lambda: 0.5)
        stages = (first, DENOISING if first is RENDERING else RENDERING)

        async def job(name: str) -> None:
            caller = Caller(("t", name), name)
            await gates.enter(stages, caller)
            entered.append(name)
            gates.answered(stages, caller, finished=True)
            gates.left(stages, caller)

        async with asyncio.TaskGroup() as jobs:
            for stage, waiting in zip(reversed(stages), (here, there), strict=True):
                gates.refused(stage, StageAway("", cause="no_replica", stage=RENDERER))
                for number in range(waiting):
                    jobs.create_task(job(f"{stage.stage} {number}"))
                for _ in range(10):  # without that time goes by
                    await asyncio.sleep(0)

    _simulated(play())
    assert len(entered) == here + there


def _simulated(play: Coroutine[Any, Any, None]) -> None:
    loop = SimLoop(Random("look"))  # type: ignore[abstract]  # what it lacks nobody asks for
    try:
        loop.run(play, limit_s=300.0)
    finally:
        loop.forget()
