"""One collection at a time in an installation, every half hour, however short its processes live."""

from __future__ import annotations

import asyncio

import pytest

from serving.retention import turns
from serving.retention.turns import EVERY_S, Turns
from serving.store import keys
from tests.unit.serving.later_version import read, rewrite
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BEAT_S", 0.01)
    monkeypatch.setattr(turns, "LOOK_EVERY_S", 0.01)


async def collects(store: ClockedStore, clock: Clock) -> None:
    """A process that lives for a moment gets a turn: at once, however slow this machine is."""
    async with asyncio.timeout(30), Turns(store, clock).next():
        pass


async def is_not_due(store: ClockedStore, clock: Clock) -> None:
    """A process that lives for a moment gets no turn."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), Turns(store, clock).next():
            pass


async def test_a_first_collection_is_due_and_the_next_in_half_an_hour_whoever_looks(
    store: ClockedStore, clock: Clock
) -> None:
    await collects(store, clock)
    await is_not_due(store, clock)
    clock.advance(EVERY_S / 3600 - 0.01)
    await is_not_due(store, clock)
    clock.advance(0.02)
    await collects(store, clock)


async def test_one_that_fails_is_due_again(store: ClockedStore, clock: Clock) -> None:
    with pytest.raises(RuntimeError):
        async with Turns(store, clock).next():
            raise RuntimeError
    await collects(store, clock)


async def test_nobody_collects_beside_another_that_beats(store: ClockedStore, clock: Clock) -> None:
    async with Turns(store, clock).next():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30 * turns.BEAT_S), Turns(store, clock).next():
                pass


async def test_the_turn_of_one_that_died_goes_to_the_next(store: ClockedStore, clock: Clock) -> None:
    await store.put_if_absent("runtime/collector", b'{"nonce": "dead", "ended_ms": 0, "working": true}')
    async with asyncio.timeout(5), Turns(store, clock).next():
        pass


async def test_an_end_in_the_future_holds_nobody_up(store: ClockedStore, clock: Clock) -> None:
    clock.advance(1000)
    await collects(store, clock)
    clock.advance(-900)
    await collects(store, clock)


async def test_what_a_later_version_wrote_in_the_turn_stays(store: ClockedStore, clock: Clock) -> None:
    await collects(store, clock)
    await rewrite(store, keys.COLLECTOR, mood="calm")
    clock.advance(1)
    await collects(store, clock)
    assert (await read(store, keys.COLLECTOR))["mood"] == "calm"
