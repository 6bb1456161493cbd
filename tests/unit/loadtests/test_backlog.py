"""The Director with a backlog, at a size that takes seconds."""

from __future__ import annotations

import pytest

from loadtests.backlog import Backlog, measure
from serving.clock import now_ms
from serving.jobs.repository import Jobs
from serving.store import keys


@pytest.mark.anyio
@pytest.mark.parametrize("dated", [False, True])
async def test_what_is_made_when_it_is_asked_for_is_what_a_store_would_hold(dated: bool) -> None:
    store = Backlog(50, 7, dated=dated, now_ms=now_ms, round_trip_s=0.0)
    jobs = Jobs(store)
    active = [found async for found in jobs.active()]
    assert len({found.key for found in active}) == 50
    assert len({found.tenant for found in active}) == 7
    for found in active:
        record = await jobs.get(*found.key)
        assert (record.tenant, record.id, record.deadline_ms) == (found.tenant, found.id, found.deadline_ms)
        assert (record.deadline_ms is not None) == dated
        assert record.created_ms == found.since_ms
    await jobs.retire(active[0])
    assert [found.key async for found in jobs.active()] == [found.key for found in active[1:]]
    assert not [entry async for entry in store.list(keys.LEASES)]


@pytest.mark.anyio
async def test_it_is_found_and_worked_through() -> None:
    found = await measure(Backlog(200, 20, dated=True, now_ms=now_ms), seconds=2.0)

    assert found.ended > 0
    assert found.most_mb >= found.idle_mb > 0
    assert found.core > found.ordering > 0
