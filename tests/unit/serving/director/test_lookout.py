"""What a listing does with the loop, for it is as long as the line; and what becomes of keys without a record."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from loadtests import paced
from loadtests.backlog import Backlog
from loadtests.paced import PacedOffice
from serving.clock import now_ms
from serving.director.aside import LONGEST_S
from serving.director.lookout import KEYS_IN_A_ROW, LIST_AT_LEAST_EVERY_S, LIST_EVERY_S, LOST_AFTER_S
from serving.jobs.ids import new_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import SENT_ONCE, _active_key
from serving.store import keys
from serving.store.base import Listed
from tests.unit.serving.director.scenes import HOUR_S, simulated

LINE = 4 * KEYS_IN_A_ROW
QUARTER_OF_AN_HOUR_S = 900.0


@pytest.mark.anyio
async def test_a_long_listing_leaves_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that gives all keys without a pause; counted: those that come between two turns of the loop."""
    monkeypatch.setattr(paced, "PAGE", 10 * LINE)
    office = paced.PacedOffice(now_ms, round_trip_s=0.0, slice_s=3600.0)
    given, most = 0, 0
    listing = office.store.list

    async def counted(prefix: str, *, after: str = "", limit: int | None = None) -> AsyncIterator[Listed]:
        nonlocal given
        async for entry in listing(prefix, after=after, limit=limit):
            given += 1
            yield entry

    monkeypatch.setattr(office.store, "list", counted)
    for _ in range(LINE):
        office.lay("studio")

    await office.open(slots=1)
    before = 0
    while given < LINE:
        await asyncio.sleep(0)
        most, before = max(most, given - before), given
    await office.close()

    assert most <= KEYS_IN_A_ROW


def test_a_listing_of_a_long_line_takes_no_more_memory_than_the_line() -> None:
    """At most so many bytes for each job, while it is learnt and while it is met again; all else of a Director, too."""
    count = 5000
    taken: list[float] = []

    async def scene(quiet: PacedOffice) -> None:
        line = Backlog(count, 20, dated=True, now_ms=quiet.now_ms)
        office = PacedOffice(quiet.now_ms, slice_s=HOUR_S, store=line)
        tracemalloc.start()
        try:
            await office.open(slots=1)
            for _ in range(2):
                await asyncio.sleep(LIST_EVERY_S + 1)
                taken.append(tracemalloc.get_traced_memory()[1] / count)
                tracemalloc.reset_peak()
        finally:
            tracemalloc.stop()
        await office.close()

    simulated(scene)

    assert max(taken) <= 300, taken


@pytest.mark.anyio
async def test_who_watches_hears_also_of_a_job_that_was_deleted_before_the_director_looked() -> None:
    """Another front door remembers it as it was, and believes that as long as the Director vouches."""
    office = paced.PacedOffice(now_ms, round_trip_s=0.0)
    director = await office.open(slots=1)
    cancelled = office.lay("studio", state=JobState.CANCELLED)
    office.write(cancelled.model_copy(update={"state": JobState.DELETED, "version": 2, "nonce": "2"}))

    async with asyncio.timeout(30):
        batches = director.watch(0, 0)
        told = [(await anext(batches)).events]  # from now on
        director.wake(*cancelled.key)
        while not told[-1]:
            told.append((await anext(batches)).events)
    await office.close()

    assert [(event.job, JobRecord.decode(event.record).state) for event in told[-1]] == [
        (cancelled.id, JobState.DELETED)
    ]


def test_a_key_whose_create_died_before_its_record_is_gone_in_a_quarter_of_an_hour() -> None:
    async def scene(office: PacedOffice) -> None:
        def lay(body: bytes) -> str:
            key = keys.active("studio", 5, None, new_id("vid_"))
            office.store.lay(key, body)
            return key

        lost, may_come_again = lay(SENT_ONCE), lay(b"")
        unreadable = office.lay("studio")
        office.store.lay(keys.job(*unreadable.key), b"{}")
        office.store.lay(_active_key(unreadable), SENT_ONCE)
        await office.open(slots=1)

        await asyncio.sleep(LOST_AFTER_S - 1)
        assert lost in office.store.data, "its create may be under way"
        await office.wait_until(lambda: lost not in office.store.data, seconds=QUARTER_OF_AN_HOUR_S - LOST_AFTER_S)

        await asyncio.sleep(HOUR_S)
        assert may_come_again in office.store.data, "a create sent again uses this very key"
        assert _active_key(unreadable) in office.store.data, "another version can read it"
        await office.close()

    simulated(scene)


def test_a_create_that_is_slow_is_not_lost() -> None:
    async def scene(office: PacedOffice) -> None:
        late = office.lay("studio")
        office.store.lay(_active_key(late), SENT_ONCE)
        await office.store.delete(keys.job(*late.key))
        await office.open(slots=1)
        await asyncio.sleep(LOST_AFTER_S - 1)
        office.write(late)
        await office.wait_until(lambda: late.id in office.stages.began, seconds=LONGEST_S + LIST_AT_LEAST_EVERY_S)
        await office.close()

    simulated(scene)


def test_after_one_listing_that_was_held_up_the_next_one_comes_soon() -> None:
    async def scene(office: PacedOffice) -> None:
        await office.open(slots=1)
        await asyncio.sleep(10 * LIST_EVERY_S)
        listings = office.store.calls["list", "active"]
        usual_s, office.store.round_trip_s = office.store.round_trip_s, 9.0
        await office.wait_until(lambda: office.store.calls["list", "active"] > listings)
        office.store.round_trip_s = usual_s
        await asyncio.sleep(9.5)
        job = office.lay("studio")
        await office.wait_until(lambda: job.id in office.stages.began, seconds=2 * LIST_EVERY_S)
        await office.close()

    simulated(scene)
