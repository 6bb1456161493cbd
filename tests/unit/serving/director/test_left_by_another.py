"""What a Director that died left is adopted, or ended, before anything else."""

from __future__ import annotations

import asyncio

from loadtests.paced import PacedOffice
from serving.director.director import COLLECT_AFTER_S
from serving.errors import Unavailable
from serving.jobs.epoch import take_epoch
from serving.jobs.lease import BEAT_EVERY_S
from serving.jobs.record import JobState
from serving.stages.lease_keeper import IDLE_BEAT_EVERY_S
from serving.store import keys
from tests.unit.serving.director.scenes import LEFT_RUNNING, SOON_S, attempt_of, lease_of, simulated, state_of


def test_all_that_a_dead_directors_replicas_do_is_adopted() -> None:
    """However many there are, though as many wait whose turn would come first, and the store is far away."""

    async def scene(office: PacedOffice) -> None:
        office.store.round_trip_s = 0.05
        alive = [office.lay(f"tenant-{number % 20}", **LEFT_RUNNING) for number in range(500)]
        silent = [office.lay("silent", **LEFT_RUNNING) for _ in range(20)]
        for job in silent:
            office.store.lay(keys.lease(job.id, 1), lease_of(job, 0))
        for _ in range(500):
            office.lay("urgent", priority=0)

        async def beat() -> None:
            for number in range(3):
                for job in alive:
                    office.store.lay(keys.lease(job.id, 1), lease_of(job, number))
                await asyncio.sleep(BEAT_EVERY_S)
            for job in alive:
                if job.id not in office.stages.began:
                    office.store.lay(keys.lease(job.id, 1), lease_of(job, 9, released=True))

        beating = asyncio.create_task(beat())
        await asyncio.sleep(0.1)
        await office.open(slots=100, servers=100)
        await beating
        await office.wait_until(lambda: office.stages.began.keys() >= {job.id for job in alive})

        assert [attempt_of(office, job) for job in alive] == [1] * len(alive)
        assert {attempt_of(office, job) for job in silent} == {1}, "they wait for their turn"

    simulated(scene)


def test_all_that_lives_is_adopted_though_the_first_listing_fails() -> None:
    async def scene(office: PacedOffice) -> None:
        alive = [office.lay(f"tenant-{number % 20}", **LEFT_RUNNING) for number in range(50)]
        for _ in range(50):
            office.lay("urgent", priority=0)

        async def beat() -> None:
            for number in range(1000):
                for job in alive:
                    office.store.lay(keys.lease(job.id, 1), lease_of(job, number))
                await asyncio.sleep(BEAT_EVERY_S)

        beating = asyncio.create_task(beat())
        failed = 0

        def fault(call: str, key: str) -> Exception | None:
            nonlocal failed
            if failed or (call, key) != ("list", keys.ACTIVE):
                return None
            failed += 1
            return Unavailable("planted", retry_after_s=1)

        office.store.fault = fault
        await office.open(slots=10, servers=10)
        await office.wait_until(lambda: all(job.id in office.stages.began for job in alive), seconds=10)
        beating.cancel()
        assert failed
        assert {attempt_of(office, job) for job in alive} == {1}

    simulated(scene)


def test_a_cancelled_job_that_nobody_runs_ends_before_its_turn() -> None:
    """Its Director went away; its user is asked to wait for no turn."""

    async def scene(office: PacedOffice) -> None:
        heard = office.lay("a", **LEFT_RUNNING, priority=9)
        cancelled = [office.lay("a", **LEFT_RUNNING, priority=9, cancel_requested=True) for _ in range(2)]
        office.store.lay(keys.lease(cancelled[0].id, 1), lease_of(cancelled[0], 0))
        for _ in range(50):
            office.lay("urgent", priority=0)
        director = await office.open(slots=4)

        await office.wait_until(lambda: {state_of(office, job) for job in cancelled} == {JobState.CANCELLED}, seconds=5)

        assert heard.id not in office.stages.began
        office.write(heard.model_copy(update={"cancel_requested": True, "version": 2, "nonce": "2"}))
        director.wake(*heard.key)
        await office.wait_until(lambda: state_of(office, heard) is JobState.CANCELLED, seconds=SOON_S)

    simulated(scene)


def test_a_director_that_was_replaced_goes_at_once_though_its_collector_ends_slowly() -> None:
    async def scene(office: PacedOffice) -> None:
        ended = asyncio.Event()

        async def collect() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(8)  # a batch of deletes that it has begun
                ended.set()

        director = await office.open(slots=2, collect=collect)
        await asyncio.sleep(COLLECT_AFTER_S + 1)
        await take_epoch(office.store)
        async with asyncio.timeout(1):
            async for _ in director.watch(0, 0):
                pass
        assert not ended.is_set()
        async with asyncio.timeout(9):
            await office.ended()
        assert ended.is_set()

    simulated(scene)


def test_what_another_director_left_is_adopted_before_the_collector_is_started() -> None:
    async def scene(office: PacedOffice) -> None:
        left = [office.lay("a", **LEFT_RUNNING) for _ in range(10)]
        began: dict[str, bool] = {}

        async def collect() -> None:
            began.update({job.id: job.id in office.stages.began for job in left})
            await asyncio.Event().wait()

        await office.open(slots=10, collect=collect)
        for beat in range(100):
            for job in left:
                office.store.lay(keys.lease(job.id, 1), lease_of(job, beat))
            await asyncio.sleep(BEAT_EVERY_S)
            if began:
                break

        assert began == dict.fromkeys((job.id for job in left), True)
        assert {attempt_of(office, job) for job in left} == {1}

    simulated(scene)


def test_an_attempt_that_no_slice_comes_to_is_adopted_soon() -> None:
    """Its replica beats more often than one at work, and a new Director looks more often than that."""

    async def scene(office: PacedOffice) -> None:
        left = [office.lay("a", **LEFT_RUNNING) for _ in range(10)]

        async def beat() -> None:
            for number in range(100):
                for job in left:
                    office.store.lay(keys.lease(job.id, 1), lease_of(job, number))
                await asyncio.sleep(IDLE_BEAT_EVERY_S)

        beating = asyncio.create_task(beat())
        await asyncio.sleep(0.1)
        await office.open(slots=10)
        took = await office.wait_until(lambda: all(job.id in office.stages.began for job in left), seconds=10)
        beating.cancel()

        assert took < 2 * IDLE_BEAT_EVERY_S
        assert {attempt_of(office, job) for job in left} == {1}

    simulated(scene)
