"""Keys of creates that died before their record: for how long they count, and that all others do."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from serving.frontdoor.admission import lost
from serving.frontdoor.admission.backlog import ALL, INTERVAL_S, Backlog
from serving.frontdoor.admission.lost import COUNTS_FOR_S
from serving.jobs.ids import JobKey
from serving.jobs.record import JobState
from serving.jobs.repository import Jobs
from serving.store import keys
from serving.store.base import Store
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record

pytestmark = pytest.mark.anyio
LOST = "vid_" + "z" * 26


class Asked(Jobs):
    """Notes of which jobs it is asked whether they have a record."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.about: list[str] = []

    async def written(self, asked: Collection[JobKey]) -> set[JobKey]:
        self.about += [job for _, job in asked]
        return await super().written(asked)


@pytest.fixture
def jobs(store: Store) -> Asked:
    return Asked(store)


@pytest.fixture
def backlog(jobs: Asked, clock: Clock) -> Backlog:
    return Backlog(jobs, clock=clock.seconds)


async def _die(store: Store, job: str = LOST, tenant: str = "default") -> None:
    """As far as a create comes that dies before its record."""
    await store.put_if_absent(keys.active(tenant, 5, None, job), b"")


async def _seen(backlog: Backlog, clock: Clock, tenant: str = "default") -> int:
    """What counts at the next listing."""
    clock.pass_s(INTERVAL_S)
    return await backlog.active(tenant)


async def _refused_at_first_sight(backlog: Backlog, clock: Clock, tenant: str = "default") -> None:
    await backlog.active("default")
    backlog.refused(tenant)
    await _seen(backlog, clock)


async def test_a_lost_key_counts_for_a_minute_after_a_create_was_refused(
    store: Store, jobs: Asked, backlog: Backlog, clock: Clock
) -> None:
    made = (await jobs.create(record())).record
    await _die(store)
    await _refused_at_first_sight(backlog, clock)
    assert backlog.held("default") == 2

    clock.pass_s(COUNTS_FOR_S - INTERVAL_S - 1)
    assert await _seen(backlog, clock) == 2
    clock.pass_s(1)
    assert await _seen(backlog, clock) == 1
    assert await backlog.names("default") == (made.id,)
    assert not backlog.has("default", LOST)
    assert await _seen(backlog, clock) == 1, "it does not come back"


async def test_it_counts_as_soon_as_it_has_a_record(store: Store, jobs: Asked, backlog: Backlog, clock: Clock) -> None:
    await _die(store)
    await _refused_at_first_sight(backlog, clock)
    clock.pass_s(COUNTS_FOR_S)
    assert await _seen(backlog, clock) == 0

    made = (await jobs.create(record(LOST))).record
    assert await _seen(backlog, clock) == 1
    clock.pass_s(COUNTS_FOR_S)
    assert await _seen(backlog, clock) == 1

    await jobs.retire(await jobs.transition(made, state=JobState.CANCELLED))
    assert await _seen(backlog, clock) == 0


async def test_one_that_is_sent_again_here_counts_at_once(
    store: Store, jobs: Asked, backlog: Backlog, clock: Clock
) -> None:
    await _die(store)
    await _refused_at_first_sight(backlog, clock)
    clock.pass_s(COUNTS_FOR_S)
    assert await _seen(backlog, clock) == 0
    await jobs.create(record(LOST))
    backlog.accepted("default", job=LOST)
    assert backlog.held("default") == 1
    assert await _seen(backlog, clock) == 1


async def test_a_key_that_went_and_came_back_counts_for_a_minute_again(
    store: Store, backlog: Backlog, clock: Clock
) -> None:
    await _die(store)
    await _refused_at_first_sight(backlog, clock)
    clock.pass_s(COUNTS_FOR_S)
    await store.delete(keys.active("default", 5, None, LOST))
    assert await _seen(backlog, clock) == 0
    await _die(store)
    assert await _seen(backlog, clock) == 1


async def test_a_queue_that_has_room_costs_no_reads(store: Store, jobs: Asked, backlog: Backlog, clock: Clock) -> None:
    await _die(store)
    await _die(store, "vid_" + "y" * 26, tenant="other")
    for _ in range(3):
        assert await _seen(backlog, clock) == 1
    assert jobs.about == []

    await _refused_at_first_sight(backlog, clock, "other")
    assert jobs.about == ["vid_" + "y" * 26]


async def test_when_there_is_no_room_for_anybody_all_are_looked_at(
    store: Store, backlog: Backlog, clock: Clock
) -> None:
    await _die(store)
    await _die(store, "vid_" + "y" * 26, tenant="other")
    await _refused_at_first_sight(backlog, clock, ALL)
    clock.pass_s(COUNTS_FOR_S + INTERVAL_S)
    assert await backlog.all_active() == 0


async def test_of_a_full_queue_each_job_is_asked_for_once_some_at_a_time_and_small_tenants_first(
    store: Store, jobs: Asked, backlog: Backlog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "LOOKS", 2)
    many = ["vid_" + letter * 26 for letter in "abc"]
    for job in many:
        await jobs.create(record(job))
    await _die(store, LOST, tenant="small")
    await backlog.active("default")
    for _ in range(4):
        backlog.refused("default")
        backlog.refused("small")
        await _seen(backlog, clock)

    assert jobs.about[0] == LOST
    assert sorted(job for job in jobs.about if job != LOST) == many


async def test_of_lost_keys_without_end_some_are_known(
    store: Store, backlog: Backlog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "MOST", 2)
    for letter in "xyz":
        await _die(store, "vid_" + letter * 26)
    await _refused_at_first_sight(backlog, clock)
    clock.pass_s(COUNTS_FOR_S)
    assert await _seen(backlog, clock) == 1
