"""What is known of a stage's replicas, and from when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random

from serving.director.events import Feed
from serving.director.stage_gate import LOOK_EVERY_S, Caller, StageGates
from serving.stage_names import RENDERER, StageName
from tests.sim.loop import SimLoop
from tests.unit.serving.director.simulated import Gauges


def test_a_count_that_is_old_is_not_believed_while_a_new_one_is_on_its_way() -> None:
    up = 0

    async def replicas() -> Mapping[StageName, int]:
        await asyncio.sleep(1.0)  # Serve's controller is busy
        return {RENDERER: up}

    async def play() -> None:
        nonlocal up
        gauges = Gauges()
        gates = StageGates(Feed(1), gauges, replicas, now_ms=lambda: 0)
        await gates.look((RENDERER,))
        up = 1
        await asyncio.sleep(LOOK_EVERY_S)
        callers = [Caller(("t", name), name) for name in ("vid_1", "vid_2")]
        for caller in callers:
            await gates.enter((RENDERER,), caller)

        await asyncio.gather(*(gates.look((RENDERER,)) for _ in callers))

        assert not gauges.values, "it was told to be away"

    loop = SimLoop(Random("look"))  # type: ignore[abstract]  # what it lacks nobody asks for
    try:
        loop.run(play(), limit_s=60.0)
    finally:
        loop.forget()
