"""A listing is as long as the line: what it does with the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from loadtests import paced
from serving.clock import now_ms
from serving.director.lookout import KEYS_IN_A_ROW
from serving.jobs.record import JobRecord, JobState
from serving.store.base import Listed

pytestmark = pytest.mark.anyio

LINE = 4 * KEYS_IN_A_ROW


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
