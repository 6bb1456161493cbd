"""How jobs are found of which nobody spoke: by their keys, and by reading what runs now and then."""

from __future__ import annotations

import asyncio

from loadtests.paced import PacedOffice
from serving.director.lookout import LIST_EVERY_S, RUNNING_ROUND
from serving.jobs.record import JobRecord, JobState
from serving.store import keys
from tests.unit.serving.director.scenes import SOON_S, simulated, state_of


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
            lambda: state_of(office, record) is JobState.CANCELLED, seconds=(RUNNING_ROUND + 2) * LIST_EVERY_S
        )

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
