"""One collection at a time in an installation, every half hour, however short its processes live."""

from __future__ import annotations

import asyncio

import pytest

from serving.retention import turns
from serving.retention.turns import EVERY_S, Turns
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "BEAT_S", 0.01)
    monkeypatch.setattr(turns, "LOOK_EVERY_S", 0.01)


async def collected(store: ClockedStore, clock: Clock) -> bool:
    """Whether a process that lives for a moment gets a turn."""
    try:
        async with asyncio.timeout(0.05), Turns(store, clock).next():
            return True
    except TimeoutError:
        return False


async def test_a_first_collection_is_due_and_the_next_in_half_an_hour_whoever_looks(
    store: ClockedStore, clock: Clock
) -> None:
    assert await collected(store, clock)
    assert not await collected(store, clock)
    clock.advance(EVERY_S / 3600 - 0.01)
    assert not await collected(store, clock)
    clock.advance(0.02)
    assert await collected(store, clock)


async def test_one_that_fails_is_due_again(store: ClockedStore, clock: Clock) -> None:
    with pytest.raises(RuntimeError):
        async with Turns(store, clock).next():
            raise RuntimeError
    assert await collected(store, clock)


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
    assert await collected(store, clock)
    clock.advance(-900)
    assert await collected(store, clock)
