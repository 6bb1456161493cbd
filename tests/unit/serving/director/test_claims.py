"""Who may work on a job, and why a job is not run."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest

from serving.director.attempt import MAX_CRASHES
from serving.director.claims import Claimed, Claims, Ended, Later
from serving.director.context import RunContext
from serving.director.events import Feed
from serving.director.publish import Publisher
from serving.director.served import ServedModels
from serving.director.stage_gate import StageGates
from serving.jobs.dead import DeadLetters
from serving.jobs.epoch import take_epoch
from serving.jobs.lease import TTL_S, LeaseLost, Leases, LeaseWatch
from serving.jobs.record import JobRecord, JobState
from serving.metrics import Unrecorded
from serving.store import keys
from serving.traces.spans import UNTRACED
from tests.unit.serving.director.conftest import TENANT, Office
from tests.unit.serving.later_version import read, rewrite

pytestmark = pytest.mark.anyio
NOW_MS = 1_700_000_100_000


class Clock:
    """Monotonic seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def claims(office: Office, clock: Clock) -> Claims:
    epoch, feed = await take_epoch(office.store), Feed(1)
    context = RunContext(
        models=(served := ServedModels({"sprite-2": office.served()})),
        publisher=Publisher(office.jobs, epoch, feed, Unrecorded(), UNTRACED, lambda: NOW_MS),
        epoch=epoch,
        leases=LeaseWatch(Leases(office.store), clock),
        dead=DeadLetters(office.store),
        feed=feed,
        metrics=Unrecorded(),
        traces=UNTRACED,
        slice_s=5.0,
        now_ms=lambda: NOW_MS,
        rank=lambda _record: (0.0,),
        measured=lambda *_work: None,
        gates=StageGates(feed, Unrecorded(), served.replicas, now_ms=lambda: NOW_MS),
    )
    return Claims(office.jobs, context)


async def test_a_job_that_waits_is_claimed(office: Office, claims: Claims) -> None:
    job = await office.job()

    assert await claims.claim(*job.key, model="sprite-2") == Claimed(ANY)

    record = await _stored(office, job)
    assert (record.state, record.attempt, record.epoch) == (JobState.RUNNING, 1, 1)


async def test_one_that_is_not_there_is_gone(claims: Claims) -> None:
    assert await claims.claim(TENANT, "vid_nothing", model="sprite-2") == Ended("gone")


async def test_one_that_ended_before_is_retired(office: Office, claims: Claims) -> None:
    job = await office.job(state=JobState.FAILED)

    assert await claims.claim(*job.key, model="sprite-2") == Ended("ended")

    assert [active async for active in office.jobs.active()] == []


async def test_one_that_is_to_be_cancelled_is_cancelled(office: Office, claims: Claims) -> None:
    job = await office.job(cancel_requested=True)

    assert await claims.claim(*job.key, model="sprite-2") == Ended("cancelled")

    assert (await _stored(office, job)).state is JobState.CANCELLED


async def test_one_whose_deadline_is_over_expires(office: Office, claims: Claims) -> None:
    job = await office.job(deadline_ms=NOW_MS)

    assert await claims.claim(*job.key, model="sprite-2") == Ended("expired")

    assert (await _stored(office, job)).state is JobState.EXPIRED


async def test_one_that_cost_too_many_workers_is_buried(office: Office, claims: Claims, clock: Clock) -> None:
    """Of another Director; its replica is silent for longer than its lease."""
    job = await office.job(state=JobState.RUNNING, attempt=3, crashes=MAX_CRASHES - 1)
    await Leases(office.store).take(job.id, 3, epoch=0, holder="replica-gone")

    assert isinstance(await claims.claim(*job.key, model="sprite-2"), Later)
    clock.now += TTL_S

    assert await claims.claim(*job.key, model="sprite-2") == Ended("buried")
    assert [dead async for dead in DeadLetters(office.store).of(TENANT)] == [job.id]


async def test_what_the_director_before_sent_begins_nothing_any_more(office: Office, claims: Claims) -> None:
    """It is on its way to a replica still, and nobody has the lease."""
    job = await office.job(state=JobState.RUNNING, attempt=1)

    assert await claims.claim(*job.key, model="sprite-2") == Claimed(ANY)

    with pytest.raises(LeaseLost):
        await Leases(office.store).take(job.id, 1, epoch=0, holder="replica-late")


async def test_a_machine_that_goes_away_again_and_again_counts_for_no_job_that_gets_further(
    office: Office, claims: Claims, clock: Clock
) -> None:
    """Its Director and its replica go together; the last two times it got no further."""
    leases, job = Leases(office.store), await office.job(state=JobState.RUNNING, attempt=1, crashes=2)
    counted = []
    for attempt, step in enumerate((3, 4, 5, 6, 7, 8, 9, 9, 2), start=1):
        lease = await leases.take(job.id, attempt, epoch=0, holder="replica-gone")
        await leases.beat(lease, segment=0, step=step)
        assert isinstance(await claims.claim(*job.key, model="sprite-2"), Later)
        clock.now += TTL_S

        found = await claims.claim(*job.key, model="sprite-2")

        assert isinstance(found, Claimed)
        counted.append(found.record.crashes)
        await office.jobs.transition(found.record, epoch=0)
    assert counted == [0] * 7 + [1, 2]


@pytest.mark.parametrize("ends", ["claimed", "cancelled"])
async def test_of_a_job_that_is_settled_no_lease_is_watched_any_more(
    office: Office, claims: Claims, clock: Clock, ends: str
) -> None:
    job = await office.job(state=JobState.RUNNING, attempt=3)
    await Leases(office.store).take(job.id, 3, epoch=0, holder="replica-gone")
    assert isinstance(await claims.claim(*job.key, model="sprite-2"), Later)
    clock.now += TTL_S
    if ends == "cancelled":
        await office.jobs.transition(await _stored(office, job), cancel_requested=True)

    await claims.claim(*job.key, model="sprite-2")

    assert claims._context.leases._seen == {}


async def test_only_an_attempt_whose_replica_beats_is_adopted_and_the_others_wait_for_their_turn(
    office: Office, claims: Claims, clock: Clock
) -> None:
    leases = Leases(office.store)
    alive, silent, none = [await office.job(state=JobState.RUNNING, attempt=1) for _ in range(3)]
    lease = await leases.take(alive.id, 1, epoch=0, holder="replica-1")
    await leases.take(silent.id, 1, epoch=0, holder="replica-2")
    for job in (alive, silent):
        assert isinstance(await claims.adopt(*job.key), Later)
    await leases.beat(lease, segment=0, step=1)
    clock.now += TTL_S

    assert isinstance(await claims.adopt(*alive.key), Claimed)
    for job in (silent, none):
        assert await claims.adopt(*job.key) == await _stored(office, job)
    assert await claims.adopt(TENANT, "vid_nothing") is None


async def _stored(office: Office, job: JobRecord) -> JobRecord:
    return await office.jobs.get(*job.key)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
async def test_one_that_asks_for_what_only_a_later_version_can_do_waits_for_its_director(
    office: Office, claims: Claims, state: JobState
) -> None:
    job = await office.job(state=state)
    await rewrite(office.store, keys.job(*job.key), "plan", way="backwards")

    assert await claims.adopt(*job.key) == await _stored(office, job)
    assert isinstance(await claims.claim(*job.key, model="sprite-2"), Later)

    assert (await _stored(office, job)).version == job.version


@pytest.mark.parametrize(
    ("over", "why"), [({"cancel_requested": True}, "cancelled"), ({"deadline_ms": NOW_MS}, "expired")]
)
async def test_it_ends_as_any_other(office: Office, claims: Claims, over: dict[str, Any], why: Any) -> None:
    job = await office.job(**over)
    await rewrite(office.store, keys.job(*job.key), "plan", way="backwards")

    assert await claims.claim(*job.key, model="sprite-2") == Ended(why)

    assert (await read(office.store, keys.job(*job.key)))["plan"]["way"] == "backwards"


async def test_one_with_other_fields_of_a_later_version_is_claimed_and_keeps_them(
    office: Office, claims: Claims
) -> None:
    job = await office.job()
    await rewrite(office.store, keys.job(*job.key), mood="calm")
    await rewrite(office.store, keys.job(*job.key), "plan", way=None)

    assert isinstance(await claims.claim(*job.key, model="sprite-2"), Claimed)

    assert (await read(office.store, keys.job(*job.key)))["mood"] == "calm"
