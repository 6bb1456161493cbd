"""Nobody waits for anybody: a Director over a store that is some milliseconds away, on a simulated clock.

The clock stands still while anything can go on, so a wait that is seen here is a wait for the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from loadtests.paced import PacedOffice
from serving.director.director import COLLECT_AFTER_S
from serving.director.lookout import LIST_EVERY_S, RUNNING_ROUND
from serving.errors import Unavailable
from serving.jobs.epoch import take_epoch
from serving.jobs.lease import BEAT_EVERY_S, Lease
from serving.jobs.record import JobRecord, JobState
from serving.stages.lease_keeper import IDLE_BEAT_EVERY_S
from serving.store import keys
from tests.sim.loop import SimLoop

T = TypeVar("T")
HOUR_S = 3600.0
SOON_S = 0.3


def simulated(scene: Callable[[PacedOffice], Coroutine[Any, Any, T]], *, slice_s: float = HOUR_S) -> T:
    """Play a scene on a clock of its own."""
    loop = SimLoop(Random(0))  # type: ignore[abstract]
    office = PacedOffice(lambda: 1_700_000_000_000 + round(loop.now * 1000), slice_s=slice_s)
    try:
        return loop.run(scene(office), limit_s=2 * HOUR_S)
    finally:
        loop.forget()


async def _starts(office: PacedOffice, wake: Callable[[str, str], int]) -> float:
    """Seconds from the wake of a quiet tenant's new job to its first slice."""
    job = office.lay("quiet")
    wake(*job.key)
    return await office.wait_until(lambda: job.id in office.stages.began)


def test_a_new_job_starts_beside_thousands_of_a_neighbours_deadlines() -> None:
    async def scene(office: PacedOffice) -> float:
        late = office.now_ms() + 8000
        crowd = [office.lay("noisy", deadline_ms=late, priority=9) for _ in range(2000)]
        director = await office.open(slots=4)
        await asyncio.sleep(8.01)

        waited = await _starts(office, director.wake)

        await office.wait_until(lambda: office.active() <= 1 + 4, seconds=2.0)
        ends = {JobState.EXPIRED, JobState.RUNNING}
        await office.wait_until(lambda: all(_state(office, job) in ends for job in crowd), seconds=0.1)
        return waited

    assert simulated(scene) < SOON_S


def test_a_new_job_starts_beside_thousands_of_a_neighbours_cancellations() -> None:
    async def scene(office: PacedOffice) -> float:
        crowd = [office.lay("noisy", priority=9) for _ in range(2000)]
        director = await office.open(slots=4)
        await asyncio.sleep(8)
        for job in crowd:
            office.write(job.model_copy(update={"state": JobState.CANCELLED, "version": 2, "nonce": "2"}))
            director.wake(*job.key)
        await asyncio.sleep(0.02)
        return await _starts(office, director.wake)

    assert simulated(scene) < SOON_S


def test_a_new_job_starts_beside_hundreds_of_creates_a_second() -> None:
    async def scene(office: PacedOffice) -> float:
        director = await office.open(slots=4)

        async def flood() -> None:
            while True:
                director.wake(*office.lay("noisy", priority=9).key)
                await asyncio.sleep(1 / 300)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(2)
        waited = await _starts(office, director.wake)
        flooding.cancel()
        return waited

    assert simulated(scene) < SOON_S


def test_calls_that_hang_hold_up_no_other_jobs_end() -> None:
    """Each holds one place; a deadline of another job holds to a second."""

    async def scene(office: PacedOffice) -> None:
        due = office.now_ms() + 5000
        stuck = [office.lay("a", deadline_ms=due, priority=9) for _ in range(8)]
        late = [office.lay("a", deadline_ms=due + 1, priority=9) for _ in range(8)]
        for _ in range(4):
            office.lay("b")
        await office.open(slots=4)
        await office.wait_until(lambda: len(office.stages.began) == 4)
        office.store.hangs = {keys.job(*job.key) for job in stuck}
        await asyncio.sleep(5)

        await office.wait_until(lambda: all(_state(office, job) is JobState.EXPIRED for job in late), seconds=1.0)

        office.store.hangs = set()  # those calls are never answered, and are given up
        await office.wait_until(lambda: all(_state(office, job) is JobState.EXPIRED for job in stuck))

    simulated(scene)


def test_a_store_that_is_away_loses_no_deadline_and_no_hint() -> None:
    async def scene(office: PacedOffice) -> None:
        late = [office.lay("a", deadline_ms=office.now_ms() + 3000) for _ in range(100)]
        for _ in range(2):
            office.lay("b", priority=0)
        director = await office.open(slots=2)
        await asyncio.sleep(2.9)
        office.store.fault = lambda _call, _key: Unavailable("planted", retry_after_s=1)
        waiting = [job for job in late if _state(office, job) is JobState.QUEUED]
        for job in late[:50]:
            director.wake(*job.key)
        await asyncio.sleep(5)
        office.store.fault = lambda _call, _key: None

        await office.wait_until(lambda: all(_state(office, job) is JobState.EXPIRED for job in waiting), seconds=3.0)

    simulated(scene)


def test_what_runs_and_does_not_change_is_read_seldom_and_told_once() -> None:
    async def scene(office: PacedOffice) -> None:
        running = [office.lay(f"tenant-{number % 20}") for number in range(300)]
        director = await office.open(slots=300, servers=300)
        await office.wait_until(lambda: len(office.stages.began) == len(running))
        await asyncio.sleep(2 * LIST_EVERY_S)
        told = director.feed.cursor
        office.store.calls.clear()

        await asyncio.sleep(10 * LIST_EVERY_S)

        listings = office.store.calls["list", "active"]
        assert listings >= 9
        assert office.store.calls["get", "t"] <= listings * len(running) / RUNNING_ROUND
        assert director.feed.cursor == told

    simulated(scene)


def test_a_cancellation_of_which_no_hint_came_is_found() -> None:
    async def scene(office: PacedOffice) -> None:
        jobs = [office.lay(f"tenant-{number % 20}") for number in range(300)]
        await office.open(slots=300, servers=300)
        await office.wait_until(lambda: len(office.stages.began) == len(jobs))
        record = JobRecord.decode(office.store.data[keys.job(*jobs[7].key)])
        office.write(record.model_copy(update={"cancel_requested": True, "version": 9, "nonce": "9"}))

        await office.wait_until(
            lambda: _state(office, record) is JobState.CANCELLED, seconds=(RUNNING_ROUND + 2) * LIST_EVERY_S
        )

    simulated(scene)


def test_all_that_a_dead_directors_replicas_do_is_adopted() -> None:
    """However many there are, and though as many wait whose turn would come first."""

    async def scene(office: PacedOffice) -> None:
        alive = [office.lay(f"tenant-{number % 20}", **_LEFT) for number in range(500)]
        silent = [office.lay("silent", **_LEFT) for _ in range(20)]
        for job in silent:
            office.store.lay(keys.lease(job.id, 1), _lease(job, 0))
        for _ in range(500):
            office.lay("urgent", priority=0)

        async def beat() -> None:
            for number in range(3):
                for job in alive:
                    office.store.lay(keys.lease(job.id, 1), _lease(job, number))
                await asyncio.sleep(BEAT_EVERY_S)
            for job in alive:
                if job.id not in office.stages.began:
                    office.store.lay(keys.lease(job.id, 1), _lease(job, 9, released=True))

        beating = asyncio.create_task(beat())
        await asyncio.sleep(0.1)
        await office.open(slots=100, servers=100)
        await beating

        assert [_attempt(office, job) for job in alive] == [1] * len(alive)
        assert {_attempt(office, job) for job in silent} == {1}, "they wait for their turn"

    simulated(scene)


def test_all_that_lives_is_adopted_though_the_first_listing_fails() -> None:
    async def scene(office: PacedOffice) -> None:
        alive = [office.lay(f"tenant-{number % 20}", **_LEFT) for number in range(50)]
        for _ in range(50):
            office.lay("urgent", priority=0)

        async def beat() -> None:
            for number in range(1000):
                for job in alive:
                    office.store.lay(keys.lease(job.id, 1), _lease(job, number))
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
        assert {_attempt(office, job) for job in alive} == {1}

    simulated(scene)


def test_a_cancelled_job_that_nobody_runs_ends_before_its_turn() -> None:
    """Its Director went away; its user is asked to wait for no turn."""

    async def scene(office: PacedOffice) -> None:
        heard = office.lay("a", **_LEFT, priority=9)
        cancelled = [office.lay("a", **_LEFT, priority=9, cancel_requested=True) for _ in range(2)]
        office.store.lay(keys.lease(cancelled[0].id, 1), _lease(cancelled[0], 0))
        for _ in range(50):
            office.lay("urgent", priority=0)
        director = await office.open(slots=4)

        await office.wait_until(lambda: {_state(office, job) for job in cancelled} == {JobState.CANCELLED}, seconds=5)

        assert heard.id not in office.stages.began
        office.write(heard.model_copy(update={"cancel_requested": True, "version": 2, "nonce": "2"}))
        director.wake(*heard.key)
        await office.wait_until(lambda: _state(office, heard) is JobState.CANCELLED, seconds=SOON_S)

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
        left = [office.lay("a", **_LEFT) for _ in range(10)]
        began: dict[str, bool] = {}

        async def collect() -> None:
            began.update({job.id: job.id in office.stages.began for job in left})
            await asyncio.Event().wait()

        await office.open(slots=10, collect=collect)
        for beat in range(100):
            for job in left:
                office.store.lay(keys.lease(job.id, 1), _lease(job, beat))
            await asyncio.sleep(BEAT_EVERY_S)
            if began:
                break

        assert began == dict.fromkeys((job.id for job in left), True)
        assert {_attempt(office, job) for job in left} == {1}

    simulated(scene)


def test_an_attempt_that_no_slice_comes_to_is_adopted_soon() -> None:
    """Its replica beats more often than one at work, and a new Director looks more often than that."""

    async def scene(office: PacedOffice) -> None:
        left = [office.lay("a", **_LEFT) for _ in range(10)]

        async def beat() -> None:
            for number in range(100):
                for job in left:
                    office.store.lay(keys.lease(job.id, 1), _lease(job, number))
                await asyncio.sleep(IDLE_BEAT_EVERY_S)

        beating = asyncio.create_task(beat())
        await asyncio.sleep(0.1)
        await office.open(slots=10)
        took = await office.wait_until(lambda: all(job.id in office.stages.began for job in left), seconds=10)
        beating.cancel()

        assert took < 2 * IDLE_BEAT_EVERY_S
        assert {_attempt(office, job) for job in left} == {1}

    simulated(scene)


def test_keys_without_a_record_keep_nobody_from_starting() -> None:
    async def scene(office: PacedOffice) -> None:
        for number in range(200):
            office.store.lay(keys.active("noisy", 0, None, f"vid_orphan{number}"), b"")
        director = await office.open(slots=4)
        await asyncio.sleep(20)
        office.store.calls.clear()
        await asyncio.sleep(20)
        assert office.store.calls["get", "t"] < 2 * 200, "they are read ever more seldom"

        job = office.lay("noisy")
        director.wake(*job.key)

        assert await office.wait_until(lambda: job.id in office.stages.began) < SOON_S

    simulated(scene)


def test_a_record_that_comes_after_its_key_was_found_empty_is_started_by_its_hint() -> None:
    async def scene(office: PacedOffice) -> None:
        director = await office.open(slots=4)
        job = office.lay("slow")
        record = office.store.data[keys.job(*job.key)]
        await office.store.delete(keys.job(*job.key))
        await asyncio.sleep(60)
        office.store.lay(keys.job(*job.key), record)
        director.wake(*job.key)

        assert await office.wait_until(lambda: job.id in office.stages.began) < SOON_S

    simulated(scene)


def test_a_job_that_met_a_fault_is_left_for_a_while_and_done_when_the_fault_has_passed() -> None:
    async def scene(office: PacedOffice) -> None:
        job, other = office.lay("a"), office.lay("a")
        faulty = keys.job(*job.key)
        met = 0

        def fault(_call: str, key: str) -> Exception | None:
            nonlocal met
            met += key == faulty
            return ZeroDivisionError() if key == faulty else None

        office.store.fault = fault
        await office.open(slots=2)
        await asyncio.sleep(60)
        assert set(office.stages.began) == {other.id}
        assert 3 < met < 10
        office.store.fault = lambda _call, _key: None

        await office.wait_until(lambda: job.id in office.stages.began, seconds=70)

    simulated(scene)


def test_of_a_long_line_that_nobody_has_read_the_oldest_start_first() -> None:
    async def scene(office: PacedOffice) -> None:
        jobs = []
        for _ in range(200):
            jobs.append(office.lay("a"))
            await asyncio.sleep(1)
        await office.open(slots=8)
        await office.wait_until(lambda: len(office.stages.began) >= 8)
        assert set(office.stages.began) == {job.id for job in jobs[:8]}

    simulated(scene)


_LEFT: dict[str, Any] = {"state": JobState.RUNNING, "attempt": 1, "epoch": 0, "started_ms": 1}


def _lease(job: JobRecord, beat: int, *, released: bool = False) -> bytes:
    lease = Lease(
        job=job.id, attempt=1, epoch=0, holder="replica-1", term="t", nonce=str(beat), beat=beat, released=released
    )
    return lease.model_dump_json().encode()


def _state(office: PacedOffice, job: JobRecord) -> JobState:
    return JobRecord.decode(office.store.data[keys.job(*job.key)]).state


def _attempt(office: PacedOffice, job: JobRecord) -> int:
    return JobRecord.decode(office.store.data[keys.job(*job.key)]).attempt
