"""Many who wait for one job: who looks, what is told to whom, and what others feel of it."""

from __future__ import annotations

import asyncio

import pytest

from serving.errors import NotFound, Unavailable
from serving.frontdoor.follow import waiting
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.follow.views import LiveProgress, View
from serving.frontdoor.follow.waiting import TOLD_AT_ONCE
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio
MANY = 10 * TOLD_AT_ONCE


class Looking(Jobs):
    """Counts how often a record is read, and fails when it is told to."""

    reads = 0
    fails: Exception | None = None

    async def get(self, tenant: str, job: str) -> JobRecord:
        self.reads += 1
        if self.fails is not None:
            raise self.fails
        return await super().get(tenant, job)


class House:
    """Records over a store, a job in it, and a moment that passes at once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.jobs = Looking(store)
        self.cache = RecordCache(clock=clock.seconds)
        self.records = Records(self.jobs, self.cache, Unrecorded())

    async def made(self) -> tuple[JobRecord, View]:
        made = (await self.jobs.create(record())).record
        return made, await self.records.lately(made.tenant, made.id)

    def wait(self, seen: View) -> list[asyncio.Task[View]]:
        return [asyncio.create_task(self.records.after(seen)) for _ in range(MANY)]


@pytest.fixture
def house(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(waiting, "LOOK_S", 0.02)
    return House(store, clock)


async def some_looks(house: House, looks: int) -> None:
    until = house.jobs.reads + looks
    async with asyncio.timeout(10):
        while house.jobs.reads < until:  # noqa: ASYNC110  (looks are counted, not told)
            await asyncio.sleep(0.005)


async def test_one_looks_for_all_and_nobody_is_told_that_nothing_happened(house: House, clock: Clock) -> None:
    made, seen = await house.made()
    tasks = house.wait(seen)
    for _ in range(5):
        before = house.jobs.reads
        clock.pass_s(0.6)  # what is remembered is too old to be believed
        await some_looks(house, 1)
        house.cache.forget_running()  # the Director's stream broke: it is read anew, and is the same
        assert house.jobs.reads <= before + 2 < before + MANY
    assert not any(task.done() for task in tasks)
    cancelled = await house.jobs.transition(made, state=JobState.CANCELLED)
    clock.pass_s(0.6)
    async with asyncio.timeout(10):
        views = await asyncio.gather(*tasks)
    assert len({id(view) for view in views}) == len({id(view.record) for view in views}) == 1, "it is parsed once"
    assert views[0].record == cancelled


async def test_what_the_director_tells_is_told_to_all_and_calls_of_others_come_between(house: House) -> None:
    made, seen = await house.made()
    tasks = house.wait(seen)
    await asyncio.sleep(0)
    house.cache.advance((made.tenant, made.id), made.version, LiveProgress("denoising", 3, 0))
    turns = [0]
    async with asyncio.timeout(10):
        while not all(task.done() for task in tasks):
            told = sum(task.done() for task in tasks)
            await asyncio.sleep(0)
            assert sum(task.done() for task in tasks) - told <= TOLD_AT_ONCE
            turns[0] += 1
    assert {task.result().progress for task in tasks} == {LiveProgress("denoising", 3, 0)}
    assert turns[0] >= MANY // TOLD_AT_ONCE


async def test_who_has_seen_an_older_one_is_told_at_once(house: House) -> None:
    made, seen = await house.made()
    newer = await house.jobs.transition(made, state=JobState.RUNNING)
    now = house.cache.put(newer)
    late = asyncio.create_task(house.records.after(now))
    async with asyncio.timeout(5):
        assert (await house.records.after(seen)).record == newer
    assert not late.done()
    late.cancel()


async def test_what_keeps_the_one_from_looking_is_told_to_all(house: House, clock: Clock) -> None:
    for fails in (NotFound("no video"), Unavailable("the store is away")):
        house.jobs.fails = None
        _, seen = await house.made()
        house.jobs.fails = fails
        clock.pass_s(0.6)
        async with asyncio.timeout(10):
            said = await asyncio.gather(*house.wait(seen), return_exceptions=True)
        assert {type(one) for one in said} == {type(fails)}


async def test_when_nobody_waits_any_more_nobody_looks(house: House, clock: Clock) -> None:
    _, seen = await house.made()
    tasks = house.wait(seen)
    clock.pass_s(0.6)
    await some_looks(house, 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "look"]
