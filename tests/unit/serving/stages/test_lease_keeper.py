"""When a replica lets go of the lease of an attempt, on a simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from serving.jobs.lease import BEAT_EVERY_S, Lease, Leases
from serving.stages.lease_keeper import IDLE_BEAT_EVERY_S, IDLE_S, LeaseKeeper
from tests.sim.chance import Chance
from tests.sim.loop import SimLoop
from tests.sim.store import Disk, SimStore

JOB = "vid_a"


def _world(kind: type[SimStore] = SimStore) -> tuple[SimLoop, SimStore]:
    loop = SimLoop(Random(1))  # type: ignore[abstract]  # what it lacks nobody asks for
    return loop, kind(Disk(lambda: round(1000 * loop.now)), loop.world, Chance(Random(1), lambda: loop.now))


def _lived(loop: SimLoop, life: Coroutine[Any, Any, Lease | None]) -> Lease | None:
    try:
        return loop.run(life, limit_s=120.0)
    finally:
        loop.forget()


def _lease_after(seconds: float, *, cancelled: bool, segments: int = 1) -> Lease | None:
    """So long after the last slice's end, of one slice a segment; the job may have been cancelled just before that."""
    loop, store = _world()

    async def life() -> Lease | None:
        keeper = LeaseKeeper(store, "replica", lost=lambda job: None)
        for segment in range(segments):
            keeper.begin(JOB, 1, 1, segment=segment, step=0)
            await asyncio.sleep(1.0 / segments)
            if cancelled and segment == segments - 1:
                keeper.let_go(JOB)
            keeper.end(JOB, 1, 1, step=1)
        await asyncio.sleep(seconds)
        return await Leases(store).read(JOB, 1)

    return _lived(loop, life())


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


@pytest.mark.parametrize(
    ("slice_s", "pause_s", "every_s"),
    [
        pytest.param(20.0, 0.0, BEAT_EVERY_S, id="one slice"),
        pytest.param(1.9, 0.1, BEAT_EVERY_S, id="slices that follow each other"),
        pytest.param(0.0, 20.0, IDLE_BEAT_EVERY_S, id="no slice: a new Director waits for a beat"),
    ],
)
def test_a_lease_is_beaten_more_often_while_no_slice_comes(slice_s: float, pause_s: float, every_s: float) -> None:
    loop, store = _world()

    async def life() -> Lease | None:
        keeper = LeaseKeeper(store, "replica", lost=lambda job: None)
        ends = asyncio.get_running_loop().time() + 20.0
        while asyncio.get_running_loop().time() < ends:
            keeper.begin(JOB, 1, 1, segment=0, step=0)
            await asyncio.sleep(slice_s)
            keeper.end(JOB, 1, 1, step=1)
            await asyncio.sleep(pause_s)
        return await Leases(store).read(JOB, 1)

    lease = _lived(loop, life())

    assert lease is not None
    assert lease.beat == pytest.approx(20.0 / every_s, rel=0.15)


def test_a_slice_of_a_director_that_was_replaced_ends_none_of_the_newer_ones() -> None:
    loop, store = _world()

    async def life() -> Lease | None:
        keeper = LeaseKeeper(store, "replica", lost=lambda job: None)
        for epoch in (1, 2):  # the attempt is adopted while its slice runs
            keeper.begin(JOB, 1, epoch, segment=0, step=0)
        keeper.end(JOB, 1, 1, step=1)
        await asyncio.sleep(IDLE_S + 2 * BEAT_EVERY_S)
        return await Leases(store).read(JOB, 1)

    lease = _lived(loop, life())

    assert lease is not None
    assert not lease.released


@pytest.mark.parametrize(
    ("attempt", "epoch", "begins"),
    [
        pytest.param(2, 1, False, id="of a Director before"),
        pytest.param(3, 1, False, id="of a Director before, whatever its attempt"),
        pytest.param(1, 2, False, id="of an attempt before"),
        pytest.param(2, 2, True, id="its own"),
        pytest.param(3, 2, True, id="of the next attempt"),
        pytest.param(2, 3, True, id="of a newer Director"),
    ],
)
def test_a_lease_is_taken_over_by_what_is_newer_and_by_nothing_older(attempt: int, epoch: int, begins: bool) -> None:
    loop, store = _world()
    lost: list[str] = []

    async def life() -> Lease | None:
        keeper = LeaseKeeper(store, "replica", lost=lost.append)
        assert keeper.begin(JOB, 2, 2, segment=0, step=3)
        await asyncio.sleep(BEAT_EVERY_S / 2)
        assert keeper.begin(JOB, attempt, epoch, segment=0, step=0) is begins
        await asyncio.sleep(2 * BEAT_EVERY_S)
        return await Leases(store).read(JOB, attempt if begins else 2)

    lease = _lived(loop, life())

    assert lease is not None
    assert (lease.epoch, lease.attempt) == ((epoch, attempt) if begins else (2, 2))
    assert lease.beat > 0
    assert not lost


def test_a_late_slice_of_a_director_before_begins_none_of_another_job_either() -> None:
    loop, store = _world()

    async def life() -> Lease | None:
        keeper = LeaseKeeper(store, "replica", lost=lambda job: None)
        keeper.begin(JOB, 1, 2, segment=0, step=0)
        assert not keeper.begin("vid_b", 1, 1, segment=0, step=0)
        await asyncio.sleep(1)
        return await Leases(store).read("vid_b", 1)

    assert _lived(loop, life()) is None


class _Unstoppable(SimStore):
    """What was sent takes effect, though nobody waits for the answer any more."""

    async def swap(self, key: str, data: bytes, version: str) -> str:
        return await asyncio.shield(self._swap_later(key, data, version))

    async def _swap_later(self, key: str, data: bytes, version: str) -> str:
        await asyncio.sleep(1)
        return await super().swap(key, data, version)


def test_a_lease_is_let_go_of_at_the_end_though_a_beat_is_on_its_way() -> None:
    loop, store = _world(_Unstoppable)

    async def life() -> Lease | None:
        keeper = LeaseKeeper(store, "replica", lost=lambda job: None)
        keeper.begin(JOB, 1, 1, segment=0, step=0)
        await asyncio.sleep(BEAT_EVERY_S + 0.5)
        await keeper.stop()
        return await Leases(store).read(JOB, 1)

    lease = _lived(loop, life())

    assert lease is not None
    assert lease.released
