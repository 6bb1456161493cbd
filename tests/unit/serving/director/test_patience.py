"""A wall clock that jumps ends nobody's job; one that stays elsewhere is followed."""

from __future__ import annotations

import asyncio

import pytest

from serving.director.patience import ALLOWED_MS, BELIEVED_AFTER_MS, PatientClock
from serving.jobs.record import JobState
from serving.stage_names import StageName
from tests.unit.serving.director.simulated import Bureau

HOUR_MS = 3_600_000


class Times:
    """A wall clock and a running one, and the clock that is made of them."""

    def __init__(self) -> None:
        self.off = self.running = 0
        self.clock = PatientClock(lambda: self.running + self.off, lambda: self.running)

    def after(self, ms: int, *, off: int) -> int:
        """How far it is from the running clock after so long; it is asked twice a second."""
        self.off = off
        for _ in range(ms // 500):
            self.running += 500
            told = self.clock()
        return told - self.running


@pytest.mark.parametrize("off", [HOUR_MS, -HOUR_MS])
def test_a_jump_is_believed_when_it_lasts(off: int) -> None:
    times = Times()

    assert times.after(BELIEVED_AFTER_MS, off=off) == 0
    assert times.after(3000, off=0) == 0
    assert times.after(BELIEVED_AFTER_MS, off=off) == 0
    assert times.after(1000, off=off) == off
    assert times.after(500, off=off + 1) == off + 1


def test_a_clock_that_jumps_again_and_again_is_not_believed() -> None:
    times = Times()

    assert {times.after(BELIEVED_AFTER_MS // 2, off=jump * HOUR_MS) for jump in range(1, 9)} == {0}


def test_small_corrections_are_followed_at_once_however_many() -> None:
    times = Times()

    assert [times.after(500, off=off) for off in range(0, 9 * ALLOWED_MS, ALLOWED_MS)][-1] == 8 * ALLOWED_MS


class JumpyBureau(Bureau):
    """Its Director goes by a patient clock."""

    off_ms = 0

    def __init__(self) -> None:
        super().__init__()
        wall = super().now_ms
        self._patient = PatientClock(lambda: wall() + self.off_ms, lambda: round(1000 * self.loop.now))

    def now_ms(self) -> int:
        return self._patient() if hasattr(self, "_patient") else super().now_ms()


def test_a_clock_that_is_an_hour_ahead_for_seconds_ends_no_job_and_deadlines_hold() -> None:
    async def slow(stage: StageName, whose: str) -> None:
        await asyncio.sleep(5)

    async def play(bureau: Bureau) -> None:
        assert isinstance(bureau, JumpyBureau)
        bureau.stages.trouble = slow
        jobs = [await bureau.job(tenant=f"t{number % 3}", deadline_s=3000) for number in range(20)]
        short = await bureau.job(deadline_s=4)
        await asyncio.sleep(2)
        bureau.off_ms = HOUR_MS
        await asyncio.sleep(3)
        assert (await bureau.now_of(short)).state is JobState.EXPIRED
        bureau.off_ms = 0
        bureau.stages.trouble = None
        assert await bureau.all_ended(jobs, within_s=120) == {JobState.SUCCEEDED: 20}

    JumpyBureau().run(play)
