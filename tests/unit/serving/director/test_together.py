"""Nobody waits for anybody: a new job starts, and one that is over ends, whatever many others need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from loadtests.paced import PacedOffice
from serving.director import cycle
from serving.director import director as director_module
from serving.director.claims import Claimed
from serving.director.errands import Errand, Errands
from serving.director.queue import waiting
from serving.director.running import RunningJobs
from serving.errors import Unavailable
from serving.jobs.ids import JobKey
from serving.jobs.record import JobState
from serving.store import keys
from tests.unit.serving.director.scenes import SOON_S, simulated, state_of


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
        await office.wait_until(lambda: all(state_of(office, job) in ends for job in crowd), seconds=0.1)
        return waited

    assert simulated(scene) < SOON_S


def test_of_thousands_of_deadlines_a_bounded_number_is_asked_for_and_a_neighbours_is_not_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most, asked = 100, set[JobKey]()

    class Noting(Errands):
        def ask(self, key: JobKey, what: str, errand: Errand) -> None:
            super().ask(key, what, errand)
            asked.difference_update([one for one in asked if not self.busy(one)])
            if what == "end":
                asked.add(key)
                assert len(asked) <= most

    monkeypatch.setattr(director_module, "Errands", Noting)
    monkeypatch.setattr(cycle, "ENDS_AT_ONCE", most)
    monkeypatch.setattr(waiting, "PASSED_AT_ONCE", 300)

    async def scene(office: PacedOffice) -> None:
        late = office.now_ms() + 5000
        crowd = [office.lay("noisy", deadline_ms=late, priority=9) for _ in range(2000)]
        for _ in range(4):
            office.lay("quiet")  # they fill the slots
        await office.open(slots=4)
        await asyncio.sleep(4)
        neighbours = office.lay("quiet", deadline_ms=late + 20, priority=9)
        await asyncio.sleep(1.1)

        await office.wait_until(lambda: state_of(office, neighbours) is JobState.EXPIRED, seconds=1.0)

        assert JobState.QUEUED in {state_of(office, job) for job in crowd}, "this shows nothing"
        await office.wait_until(lambda: {state_of(office, job) for job in crowd} == {JobState.EXPIRED}, seconds=5.0)

    simulated(scene)


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

        await office.wait_until(lambda: all(state_of(office, job) is JobState.EXPIRED for job in late), seconds=1.0)

        office.store.hangs = set()  # those calls are never answered, and are given up
        await office.wait_until(lambda: all(state_of(office, job) is JobState.EXPIRED for job in stuck))

    simulated(scene)


def test_a_store_that_is_away_loses_no_deadline_and_no_hint() -> None:
    async def scene(office: PacedOffice) -> None:
        late = [office.lay("a", deadline_ms=office.now_ms() + 3000) for _ in range(100)]
        for _ in range(2):
            office.lay("b", priority=0)
        director = await office.open(slots=2)
        await asyncio.sleep(2.9)
        office.store.fault = lambda _call, _key: Unavailable("planted", retry_after_s=1)
        waiting = [job for job in late if state_of(office, job) is JobState.QUEUED]
        for job in late[:50]:
            director.wake(*job.key)
        await asyncio.sleep(5)
        office.store.fault = lambda _call, _key: None

        await office.wait_until(lambda: all(state_of(office, job) is JobState.EXPIRED for job in waiting), seconds=3.0)

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


def test_a_job_that_is_stopped_before_its_run_takes_its_first_step_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its Director was held up between the two."""
    start = RunningJobs.start

    def start_and_stop(self: RunningJobs, claimed: Claimed) -> None:
        start(self, claimed)
        self.cancel_if_asked(claimed.record.model_copy(update={"cancel_requested": True}))

    monkeypatch.setattr(RunningJobs, "start", start_and_stop)

    async def scene(office: PacedOffice) -> None:
        job = office.lay("a")
        await office.open(slots=4)
        await office.wait_until(lambda: state_of(office, job) is JobState.CANCELLED, seconds=5)
        assert job.id not in office.stages.began

    simulated(scene)
