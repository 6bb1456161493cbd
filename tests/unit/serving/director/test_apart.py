"""Workers that are lost until it is known whose fault it is: as few as the fault needs, however many jobs there are."""

from __future__ import annotations

import asyncio
import math

import pytest

from serving.director.attempt import MAX_CRASHES
from serving.director.stage_health import DIFFERENT, FIRST_PAUSE_S, LONGEST_PAUSE_S
from serving.director.suspects import SUSPECT_FROM
from serving.jobs.ids import new_id
from serving.jobs.record import JobState
from serving.stage_names import DENOISER, RENDERER, StageName
from tests.unit.serving.director.simulated import Bureau
from tests.unit.serving.director.troubles import STARTS_S, WORKS_S, Replicas

JOBS = 60
AWAY_S = 120.0
SHAPES = [
    pytest.param(RENDERER, 1, 2, id="one Renderer"),
    pytest.param(RENDERER, 4, 2, id="four Renderers"),
    pytest.param(DENOISER, 1, JOBS, id="one Denoiser for all"),
    pytest.param(DENOISER, 4, JOBS, id="four Denoisers for all"),
    pytest.param(DENOISER, 4, 8, id="Denoisers with little room"),
]


@pytest.mark.parametrize("told_s", [0.0, 3.0], ids=["at once", "late"])
@pytest.mark.parametrize(("stage", "replicas", "room"), SHAPES)
def test_one_harmful_job_ends_as_many_workers_as_it_may_and_no_more_however_many_share_them(
    stage: StageName, replicas: int, room: int, told_s: float
) -> None:
    """And however late the others are told of a death."""

    async def play(bureau: Bureau) -> None:
        await bureau.all_ended([await bureau.job()], within_s=30)
        harmful: set[str] = set()
        bureau.stages.trouble = trouble = Replicas(stage, replicas, room, harmful.__contains__, told_s=told_s)
        jobs = [await bureau.job(tenant=f"t{number % 6}") for number in range(JOBS)]
        harmful.add(jobs[JOBS // 2].id)
        ends = await bureau.all_ended(jobs, within_s=1200)

        assert ends == {JobState.SUCCEEDED: JOBS - 1, JobState.FAILED: 1}
        assert trouble.deaths == MAX_CRASHES

    Bureau().run(play, slots=JOBS, renders=replicas * room)


@pytest.mark.parametrize(("stage", "replicas", "room"), SHAPES)
def test_a_stage_that_ends_every_process_ends_few_of_them_however_many_jobs_wait(
    stage: StageName, replicas: int, room: int
) -> None:
    async def play(bureau: Bureau) -> None:
        await bureau.all_ended([await bureau.job()], within_s=30)
        broken = True
        bureau.stages.trouble = trouble = Replicas(stage, replicas, room, lambda _: broken)
        jobs = [await bureau.job(tenant=f"t{number % 6}") for number in range(JOBS)]
        await asyncio.sleep(AWAY_S)
        found = [await bureau.now_of(job) for job in jobs]
        tries = math.log2(2 * LONGEST_PAUSE_S / FIRST_PAUSE_S) + 2 * AWAY_S / LONGEST_PAUSE_S

        assert trouble.deaths <= replicas + DIFFERENT + SUSPECT_FROM + tries
        assert all(record.crashes <= SUSPECT_FROM + 1 for record in found)
        assert not any(record.state.terminal for record in found)

        broken = False
        assert await bureau.all_ended(jobs, within_s=600) == {JobState.SUCCEEDED: JOBS}

    Bureau().run(play, slots=JOBS, renders=replicas * room)


def test_a_harmful_job_that_is_made_again_at_once_is_kept_apart_from_its_first_call_on() -> None:
    """It looks new, and those that the dead one made suspects would seem to lose their workers alone beside it."""

    async def play(bureau: Bureau) -> None:
        await bureau.all_ended([await bureau.job()], within_s=30)
        harmful: set[str] = set()
        bureau.stages.slices = slices = 20
        bureau.stages.trouble = trouble = Replicas(DENOISER, 1, JOBS, harmful.__contains__)
        dead, *jobs = [await bureau.job(steps=slices) for _ in range(4)]
        harmful.add(dead.id)
        await bureau.all_ended([dead], within_s=60)
        again = dead.model_copy(update={"id": new_id("vid_"), "requeue_of": dead.id})
        harmful.add(again.id)
        await bureau.jobs.create(again)

        assert await bureau.all_ended([again], within_s=60) == {JobState.FAILED: 1}
        assert await bureau.all_ended(jobs, within_s=60) == {JobState.SUCCEEDED: len(jobs)}
        assert trouble.deaths == 2 * MAX_CRASHES

    Bureau().run(play, slots=JOBS)


def test_who_is_past_the_step_where_it_lost_its_workers_is_kept_apart_no_more() -> None:
    """One alone takes as long as all of them together do."""

    async def play(bureau: Bureau) -> None:
        await bureau.all_ended([await bureau.job()], within_s=30)
        harmful: set[str] = set()
        bureau.stages.slices = slices = 20
        bureau.stages.trouble = Replicas(DENOISER, 1, JOBS, harmful.__contains__)
        jobs = [await bureau.job(steps=slices) for _ in range(12)]
        harmful.add(jobs[5].id)
        apart_s = 2 * len(jobs) * WORKS_S
        lost_s = MAX_CRASHES * (STARTS_S + 2 * WORKS_S)
        together_s = (slices + 1) * WORKS_S
        ends = await bureau.all_ended(jobs, within_s=apart_s + lost_s + together_s)

        assert ends == {JobState.SUCCEEDED: len(jobs) - 1, JobState.FAILED: 1}

    Bureau().run(play, slots=JOBS)


@pytest.mark.parametrize("count", [4, 6])
def test_a_harmful_job_that_was_excused_is_kept_apart_where_the_stage_is_sound_after_all(count: int) -> None:
    """Nobody has seen the stage work when it ends a worker alone, and then another one's call is done."""

    async def play(bureau: Bureau) -> None:
        harmful: set[str] = set()
        bureau.stages.trouble = Replicas(DENOISER, 1, JOBS, harmful.__contains__, told_s=1.0)
        dead, *jobs = [await bureau.job(tenant=f"t{number}") for number in range(count)]
        harmful.add(dead.id)
        lost = 0
        while not (await bureau.now_of(dead)).state.terminal:
            await asyncio.sleep(0.1)
            lost = max(lost, *[(await bureau.now_of(job)).crashes for job in jobs])

        assert lost <= SUSPECT_FROM + 1
        assert await bureau.all_ended(jobs, within_s=60) == {JobState.SUCCEEDED: len(jobs)}

    Bureau().run(play, slots=JOBS)
