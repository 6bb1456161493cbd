"""The count of active jobs: near enough for a bound, and cheap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from serving.frontdoor.admission import backlog as backlogs
from serving.frontdoor.admission.backlog import INTERVAL_S, SHARE, Backlog
from serving.jobs.active import Active
from serving.jobs.record import JobState
from serving.jobs.repository import Jobs
from serving.store import keys
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio


async def test_own_creates_count_at_once_and_ended_jobs_leave_at_the_next_listing(store: Store, clock: Clock) -> None:
    jobs = Jobs(store)
    backlog = Backlog(jobs, clock=clock.seconds)
    first = (await jobs.create(record())).record
    await jobs.create(record("vid_" + "b" * 26, tenant="other"))
    assert await backlog.active("default") == 1

    backlog.accepted("default")
    assert await backlog.active("default") == 2
    assert await backlog.active("other") == 1

    await jobs.retire(await jobs.transition(first, state=JobState.CANCELLED))
    assert await backlog.active("default") == 2
    clock.pass_s(INTERVAL_S)
    assert await backlog.active("default") == 0


async def test_work_ahead_is_counted_by_urgency_and_deadline_from_the_names_of_keys(store: Store, clock: Clock) -> None:
    jobs = Jobs(store)
    for letter, priority, deadline in (("a", 2, None), ("b", 5, 7000), ("c", 5, 9000), ("d", 5, None), ("e", 9, 1)):
        await jobs.create(record("vid_" + letter * 26, priority=priority, deadline_ms=deadline))
    backlog = Backlog(jobs, clock=clock.seconds)
    assert await backlog.ahead_s("default", 5, None, 1.0) == 4
    assert await backlog.ahead_s("default", 5, 8000, 1.0) == 3
    assert await backlog.ahead_s("default", 2, None, 1.0) == 1
    assert await backlog.ahead_s("other", 9, None, 1.0) == 0
    assert list(backlog.others_s("other", 2.0)) == [("default", 10.0)]

    backlog.accepted("default", priority=5, deadline_ms=7500)
    assert await backlog.ahead_s("default", 5, 8000, 1.0) == 4


async def test_a_jobs_work_is_the_mean_of_what_its_tenant_sent_lately(store: Store, clock: Clock) -> None:
    backlog = Backlog(Jobs(store), clock=clock.seconds)
    assert backlog.job_s("long", 3.0) == 3.0
    for _ in range(50):
        backlog.accepted("long", work_s=100.0)
        backlog.accepted("short", work_s=1.0)
    assert backlog.job_s("long", 3.0) == pytest.approx(100)
    assert backlog.job_s("short", 3.0) == pytest.approx(1)
    assert 1 < backlog.job_s("never seen", 3.0) < 100
    for _ in range(50):
        backlog.accepted("short", work_s=2.0)
    assert 1.9 < backlog.job_s("short", 3.0) < 2


async def test_jobs_of_another_model_are_in_nobodys_way_and_those_of_which_it_is_not_known_in_everybodys(
    store: Store, clock: Clock
) -> None:
    jobs = Jobs(store)
    names = {letter: "vid_" + letter * 26 for letter in "abcd"}
    for letter, tenant in (("a", "default"), ("b", "default"), ("c", "default"), ("d", "other")):
        await jobs.create(record(names[letter], tenant=tenant))
    models = {names["a"]: "sprite-2", names["b"]: "wan", names["d"]: "wan"}
    backlog = Backlog(jobs, clock=clock.seconds, model_of=lambda key: models.get(key[1], ""))

    assert await backlog.ahead_s("default", 5, None, 1.0, "sprite-2") == 2
    assert await backlog.ahead_s("default", 5, None, 1.0, "wan") == 2
    assert await backlog.ahead_s("default", 5, None, 1.0, "third") == 1
    assert list(backlog.others_s("default", 1.0, "sprite-2")) == []
    assert list(backlog.others_s("default", 1.0, "wan")) == [("other", 1.0)]
    assert await backlog.all_active() == 4

    for _ in range(50):
        backlog.accepted("default", model="wan", work_s=60.0)
    assert backlog.job_s("default", 1.0, "wan") == pytest.approx(60)
    assert backlog.job_s("default", 1.0, "sprite-2") == 1.0


class Waits(Jobs):
    """Its listing is done, and its last page is on its way until somebody lets it go."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.listings = 0
        self.listed = asyncio.Event()
        self.go_on = asyncio.Event()

    async def active(self) -> AsyncIterator[Active]:
        self.listings += 1
        async for entry in super().active():
            yield entry
        self.listed.set()
        await self.go_on.wait()


async def test_what_is_accepted_while_the_store_is_listed_counts_once(store: Store, clock: Clock) -> None:
    jobs = Waits(store)
    backlog = Backlog(jobs, clock=clock.seconds)
    listed = (await jobs.create(record("vid_" + "a" * 26))).record
    looking = asyncio.create_task(backlog.active("default"))
    await jobs.listed.wait()
    backlog.accepted("default", job=listed.id)
    passed_by = (await jobs.create(record("vid_" + "b" * 26))).record
    backlog.accepted("default", job=passed_by.id)

    jobs.go_on.set()

    assert await looking == 2
    assert await backlog.names("default") == (listed.id, passed_by.id)


async def test_a_listing_that_takes_long_is_not_overtaken_by_another(store: Store, clock: Clock) -> None:
    jobs = Waits(store)
    backlog = Backlog(jobs, clock=clock.seconds)
    looking = asyncio.create_task(backlog.active("default"))
    await jobs.listed.wait()
    clock.pass_s(INTERVAL_S)

    async with asyncio.timeout(5):
        assert await backlog.active("default") == 0
    assert jobs.listings == 1

    jobs.go_on.set()
    await looking


async def test_the_next_look_is_told(store: Store, clock: Clock) -> None:
    backlog = Backlog(Jobs(store), clock=clock.seconds)
    assert await backlog.active("default") == 0
    clock.pass_s(2)
    assert backlog.seen_again_s() == pytest.approx(INTERVAL_S - 2)


async def test_a_short_queue_is_counted_again_soon_however_slow_the_store_was(store: Store, clock: Clock) -> None:
    jobs = Waits(store)
    backlog = Backlog(jobs, clock=clock.seconds)
    looking = asyncio.create_task(backlog.active("default"))
    await jobs.listed.wait()
    clock.pass_s(30)
    jobs.go_on.set()
    await looking
    assert backlog.seen_again_s() == INTERVAL_S


async def _many(store: Store, tenant: str, count: int) -> None:
    for number in range(count):
        await store.put_if_absent(keys.active(tenant, 5, None, f"vid_{number:026d}"), b"")


class _Listed(Jobs):
    """Counts how often all names are listed."""

    listings = 0

    async def active(self) -> AsyncIterator[Active]:
        self.listings += 1
        async for entry in super().active():
            yield entry


async def test_names_of_a_short_queue_are_those_of_now(store: Store, clock: Clock) -> None:
    jobs = Jobs(store)
    backlog = Backlog(jobs, clock=clock.seconds)
    assert await backlog.names("default") == ()

    made = (await jobs.create(record())).record
    await jobs.create(record("vid_" + "b" * 26, tenant="other"))
    assert await backlog.names("default") == (made.id,)

    await jobs.retire(await jobs.transition(made, state=JobState.CANCELLED))
    assert await backlog.names("default") == ()


async def test_a_long_queue_is_not_listed_for_everyone_who_asks(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlogs, "SMALL", 20)
    await _many(store, "busy", 30)
    jobs = _Listed(store)
    ticks = iter(range(1000))
    # Each look at this clock is a second later: a listing takes one.
    backlog = Backlog(jobs, clock=lambda: clock.seconds() + next(ticks))

    asked = await asyncio.gather(*(backlog.names("busy") for _ in range(10)))
    backlog.accepted("quiet", job="vid_" + "q" * 26)

    assert jobs.listings == 1
    assert {len(names) for names in asked} == {30}
    assert await backlog.names("quiet") == ("vid_" + "q" * 26,)
    clock.pass_s(SHARE * 1 + 1)
    assert await backlog.names("quiet") == ()
    assert jobs.listings == 2
