"""Leases: one holder, seen by an observer's own clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.jobs.lease import TTL_S, LeaseLost, Leases, LeaseWatch, Verdict
from serving.store import keys
from serving.store.base import Store
from serving.store.open import open_store
from tests.unit.serving.later_version import read, rewrite

pytestmark = pytest.mark.anyio


class Clock:
    """Seconds that the test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    return await open_store(str(tmp_path / "store"), probe=False)


async def test_the_director_of_the_newest_epoch_gives_the_lease_away(store: Store) -> None:
    leases = Leases(store)
    first = await leases.take("vid_a", 1, epoch=1, holder="one")
    second = await leases.take("vid_a", 1, epoch=2, holder="two")

    with pytest.raises(LeaseLost):
        await leases.beat(first, segment=0, step=1)
    with pytest.raises(LeaseLost):
        await leases.take("vid_a", 1, epoch=1, holder="one")
    assert (await leases.beat(second, segment=2, step=5)).beat == 1
    found = await leases.read("vid_a", 1)
    assert found is not None
    assert (found.holder, found.segment, found.step) == ("two", 2, 5)


async def test_a_beat_whose_answer_was_lost_is_still_ones_own(store: Store) -> None:
    leases = Leases(store)
    lease = await leases.take("vid_a", 1, epoch=1, holder="one")
    await leases.beat(lease, segment=0, step=1)  # nobody was told
    assert (await leases.beat(lease, segment=0, step=2)).step == 2


async def test_whoever_works_on_a_later_segment_keeps_the_lease(store: Store) -> None:
    leases = Leases(store)
    await leases.take("vid_a", 1, epoch=1, holder="one", segment=0)
    later = await leases.take("vid_a", 1, epoch=1, holder="two", segment=1)
    with pytest.raises(LeaseLost, match="at segment 1 already, with two"):
        await leases.take("vid_a", 1, epoch=1, holder="one", segment=0)
    assert (await leases.beat(later, segment=1, step=3)).holder == "two"
    assert (await leases.take("vid_a", 1, epoch=2, holder="one", segment=0)).holder == "one"


async def test_a_revoked_holder_learns_of_it(store: Store) -> None:
    leases = Leases(store)
    lease = await leases.take("vid_a", 1, epoch=1, holder="one")
    await leases.revoke("vid_a", 1)
    with pytest.raises(LeaseLost):
        await leases.beat(lease, segment=0, step=1)


async def test_what_an_earlier_director_sent_takes_no_lease_that_was_closed(store: Store) -> None:
    leases = Leases(store)
    assert await leases.close("vid_a", 1, epoch=2)
    with pytest.raises(LeaseLost, match="belongs to epoch 2"):
        await leases.take("vid_a", 1, epoch=1, holder="one")

    await leases.release(await leases.take("vid_b", 1, epoch=1, holder="one"))
    assert await leases.close("vid_b", 1, epoch=2)
    with pytest.raises(LeaseLost, match="belongs to epoch 2"):
        await leases.take("vid_b", 1, epoch=1, holder="one")

    held = await leases.take("vid_c", 1, epoch=1, holder="one")
    assert not await leases.close("vid_c", 1, epoch=2)
    assert (await leases.beat(held, segment=0, step=1)).holder == "one"


async def test_an_observer_needs_its_own_time_to_call_a_lease_dead(store: Store) -> None:
    leases, clock = Leases(store), Clock()
    watch = LeaseWatch(leases, clock)
    assert (await watch.look("vid_a", 1))[0] is Verdict.NOBODY

    lease = await leases.take("vid_a", 1, epoch=1, holder="one")
    assert (await watch.look("vid_a", 1))[0] is Verdict.UNSURE
    clock.now += TTL_S - 0.1
    assert (await watch.look("vid_a", 1))[0] is Verdict.UNSURE
    lease = await leases.beat(lease, segment=0, step=1)
    clock.now += 0.2
    assert (await watch.look("vid_a", 1))[0] is Verdict.ALIVE
    clock.now += TTL_S + 0.1
    assert (await watch.look("vid_a", 1))[0] is Verdict.EXPIRED

    await leases.release(lease)
    assert (await watch.look("vid_a", 1))[0] is Verdict.NOBODY


async def test_a_lease_of_a_later_version_is_read_and_revoked_whole(store: Store) -> None:
    leases = Leases(store)
    lease = await leases.take("vid_a", 1, epoch=1, holder="one")
    await rewrite(store, keys.lease("vid_a", 1), mood="calm")

    assert await LeaseWatch(leases, Clock()).look("vid_a", 1) == (Verdict.UNSURE, await leases.read("vid_a", 1))
    await leases.revoke("vid_a", 1)
    await leases.close("vid_a", 1, epoch=2)

    after = await read(store, keys.lease("vid_a", 1))
    assert (after["released"], after["term"], after["mood"]) == (True, lease.term, "calm")
    assert (await leases.take("vid_a", 1, epoch=2, holder="two")).holder == "two"
