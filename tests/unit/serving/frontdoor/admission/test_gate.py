"""What a tenant may have, as the settings say, and that a create which died does not take it away for long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.errors import ResourceExhausted
from serving.files.quota import Quota
from serving.frontdoor.admission.backlog import INTERVAL_S, Backlog
from serving.frontdoor.admission.bounds import Limits
from serving.frontdoor.admission.forecast import Forecast
from serving.frontdoor.admission.gate import Gate, limits_of
from serving.frontdoor.admission.lost import COUNTS_FOR_S
from serving.jobs.history import Prediction
from serving.jobs.ids import derived_id
from serving.jobs.record import JobRecord
from serving.jobs.repository import Jobs
from serving.settings import Admission, TenantAdmission
from serving.stage_names import DENOISER, RENDERER
from serving.store.directory import DirectoryStore
from tests.unit.serving.conftest import Clock
from tests.unit.serving.frontdoor.builders import record


def test_a_tenant_without_bounds_of_its_own_has_those_of_all() -> None:
    bounds = Admission(max_active_jobs=5, max_all_jobs=9, creates_per_minute=3, most_urgent=2)
    assert limits_of(bounds, "a") == Limits("a", 5, 9, most_urgent=2, creates_per_minute=3)


def test_a_tenants_own_bounds_come_first_and_the_rest_stays() -> None:
    own = {"studio": TenantAdmission(max_active_jobs=50, most_urgent=0)}
    bounds = Admission(max_active_jobs=5, creates_per_minute=3, most_urgent=2, tenants=own)
    assert limits_of(bounds, "studio") == Limits("studio", 50, 100_000, most_urgent=0, creates_per_minute=3)
    assert limits_of(bounds, "other").most_urgent == 2


class Dying(DirectoryStore):
    """While it is to, whoever writes a record dies before."""

    dies = False

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if self.dies and "/jobs/" in key:
            raise ConnectionAbortedError
        return await super().put_if_absent(key, data)


@dataclass
class House:
    """A store, and front doors before it in which a tenant may have so many jobs."""

    store: Dying
    clock: Clock
    most: int = 1
    most_of_all: int = 100

    def door(self) -> Door:
        jobs, clock = Jobs(self.store), self.clock
        backlog = Backlog(jobs, clock=clock.seconds)
        gate = Gate(
            Admission(max_active_jobs=self.most, max_all_jobs=self.most_of_all),
            backlog=backlog,
            forecast=Forecast(self.store, backlog, servers=lambda _: 1, now_ms=clock.now_ms, clock=clock.seconds),
            quota=Quota(self.store, lambda _: None),
            clock=clock.seconds,
        )
        return Door(gate, jobs)


@dataclass
class Door:
    """A front door, as far as a create is admitted and written."""

    gate: Gate
    jobs: Jobs

    async def create(self, key: str, tenant: str = "default") -> JobRecord:
        """`key`: the create's idempotency key."""
        predicted = Prediction(start_ms=1, end_ms=2, seconds={DENOISER: 1.0, RENDERER: 1.0})
        job = derived_id("vid_", tenant, key)
        wanted = record(job, tenant=tenant, idempotency_key=key, predicted=predicted)
        async with self.gate.admitted(wanted, priority_field="priority", deadline_field="deadline"):
            made = (await self.jobs.create(wanted)).record
        self.gate.accepted(made)
        return made


@pytest.fixture
async def house(tmp_path: Path, clock: Clock) -> AsyncIterator[House]:
    store = Dying(tmp_path)
    await store.open()
    yield House(store, clock)
    await store.close()


async def _die(house: House, key: str, tenant: str = "default") -> None:
    """A create at a front door that dies between the key and the record."""
    house.store.dies = True
    with pytest.raises(ConnectionAbortedError):
        await house.door().create(key, tenant)
    house.store.dies = False


@pytest.mark.anyio
async def test_a_create_that_died_shuts_its_tenant_out_for_a_minute_at_most(house: House) -> None:
    await _die(house, "died")
    doors = [house.door(), house.door()]
    for _ in range(2):
        for door in doors:
            with pytest.raises(ResourceExhausted, match="your queue is full"):
                await door.create("next")
        house.clock.pass_s(INTERVAL_S)
    house.clock.pass_s(COUNTS_FOR_S)

    made = await doors[0].create("next")

    house.clock.pass_s(INTERVAL_S)
    with pytest.raises(ResourceExhausted, match="1 of your jobs"):
        await doors[1].create("one too many")
    assert [page.id for page in (await doors[1].jobs.list("default", limit=9)).records] == [made.id]


@pytest.mark.anyio
async def test_a_create_that_died_is_sent_again_at_once_and_is_one_job(house: House) -> None:
    await _die(house, "died")
    doors = [house.door(), house.door()]
    with pytest.raises(ResourceExhausted):
        await doors[0].create("another")

    made = await doors[0].create("died")

    assert (await doors[1].create("died")).nonce == made.nonce, "the second one finds the first one's record"
    house.clock.pass_s(INTERVAL_S + COUNTS_FOR_S)
    assert [active.id async for active in doors[0].jobs.active()] == [made.id]
    with pytest.raises(ResourceExhausted):
        await doors[0].create("another")


@pytest.mark.anyio
async def test_a_lost_create_that_is_sent_again_counts_when_it_is_there(house: House) -> None:
    """It was not counted any more, another one had its place: the bound is overrun by this one, and by no more."""
    await _die(house, "died")
    door = house.door()
    for _ in range(2):
        with pytest.raises(ResourceExhausted):
            await door.create("next")
        house.clock.pass_s(INTERVAL_S)
    house.clock.pass_s(COUNTS_FOR_S)
    await door.create("next")
    with pytest.raises(ResourceExhausted):
        await door.create("died")

    await house.door().jobs.create(record(derived_id("vid_", "default", "died"), idempotency_key="died"))

    house.clock.pass_s(INTERVAL_S)
    with pytest.raises(ResourceExhausted, match="2 of your jobs"):
        await door.create("one too many")


@pytest.mark.anyio
async def test_creates_that_died_do_not_take_the_places_of_all_for_long(house: House) -> None:
    house.most, house.most_of_all = 10, 1
    await _die(house, "died", "other")
    door = house.door()
    for _ in range(2):
        with pytest.raises(ResourceExhausted, match="the queue of all tenants is full"):
            await door.create("next")
        house.clock.pass_s(INTERVAL_S)
    house.clock.pass_s(COUNTS_FOR_S)
    assert await door.create("next")
