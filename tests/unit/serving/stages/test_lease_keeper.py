"""When a replica lets go of the lease of an attempt, on a simulated clock."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from serving.jobs.lease import BEAT_EVERY_S, Lease, Leases
from serving.stages.lease_keeper import IDLE_S, LeaseKeeper
from tests.sim.chance import Chance
from tests.sim.loop import SimLoop
from tests.sim.store import Disk, SimStore

JOB = "vid_a"


def _lease_after(seconds: float, *, cancelled: bool, segments: int = 1) -> Lease | None:
    """So long after the last slice's end, of one slice a segment; the job may have been cancelled just before that."""
    loop = SimLoop(Random(1))  # type: ignore[abstract]  # what it lacks nobody asks for
    store = SimStore(Disk(lambda: round(1000 * loop.now)), loop.world, Chance(Random(1), lambda: loop.now))

    async def life() -> Lease | None:
        keeper = LeaseKeeper(store, "replica", lost=lambda job: None)
        for segment in range(segments):
            keeper.begin(JOB, 1, 1, segment=segment, step=0)
            await asyncio.sleep(1.0 / segments)
            if cancelled and segment == segments - 1:
                keeper.let_go(JOB)
            keeper.end(JOB, 1, step=1)
        await asyncio.sleep(seconds)
        return await Leases(store).read(JOB, 1)

    try:
        return loop.run(life(), limit_s=120.0)
    finally:
        loop.forget()


@pytest.mark.parametrize(
    ("seconds", "cancelled", "released"),
    [
        pytest.param(2 * BEAT_EVERY_S, True, True, id="cancelled while its slice ran: at the next beat"),
        pytest.param(IDLE_S - BEAT_EVERY_S, False, False, id="its next slice may come: not yet"),
        pytest.param(IDLE_S + 2 * BEAT_EVERY_S, False, True, id="no slice came for long"),
    ],
)
def test_a_lease_is_let_go_of_when_nobody_needs_it(seconds: float, cancelled: bool, released: bool) -> None:
    lease = _lease_after(seconds, cancelled=cancelled)

    assert lease is not None
    assert lease.released is released


def test_a_job_whose_segments_follow_each_other_faster_than_the_beats_lets_go_of_its_lease_too() -> None:
    lease = _lease_after(2 * BEAT_EVERY_S, cancelled=True, segments=3)

    assert lease is not None
    assert lease.released
