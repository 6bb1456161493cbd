"""Who is at fault when workers end: the job that they worked on, or the stage. Only the job's own end fails it."""

from __future__ import annotations

import asyncio

import pytest

from serving.jobs.ids import new_id
from serving.jobs.record import JobState
from serving.stage_names import CONDITIONER, DENOISER, RENDERER, StageName
from serving.stages.contracts import StageAway, StageLost
from tests.unit.serving.director.simulated import Bureau
from tests.unit.serving.director.troubles import kills, kills_for

PICTURE = "a" * 64
AWAY_S = 600.0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_jobs_that_end_their_workers_on_a_sound_stage_fail_and_no_others(count: int) -> None:
    async def play(bureau: Bureau) -> None:
        guilty: set[str] = set()
        bureau.stages.trouble = kills_for(RENDERER, guilty)
        jobs = [await bureau.job(tenant=f"t{number % 6}") for number in range(60)]
        poison = jobs[-count:]
        guilty.update(job.id for job in poison)
        for _ in range(40):
            await asyncio.sleep(15)
            jobs.append(await bureau.job(tenant="t7"))
        ends = await bureau.all_ended(jobs, within_s=60)
        assert ends == {JobState.FAILED: count, JobState.SUCCEEDED: 100 - count}
        assert await bureau.states(poison) == {JobState.FAILED: count}

    Bureau().run(play)


def test_a_picture_that_ends_its_workers_is_quarantined_while_others_are_read() -> None:
    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = kills_for(CONDITIONER, ("f" * 64,))
        jobs = [await bureau.job(references=(PICTURE,)) for _ in range(20)]
        poison = [await bureau.job(references=("f" * 64,)) for _ in range(2)]
        await bureau.all_ended([*jobs, *poison], within_s=600)
        assert await bureau.states(jobs) == {JobState.SUCCEEDED: 20}
        assert await bureau.states(poison) == {JobState.FAILED: 2}
        assert bureau.quarantined == 1

    Bureau().run(play)


def test_one_job_on_a_stage_that_worked_before_comes_to_an_end_and_on_one_that_never_did_it_waits() -> None:
    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = kills(RENDERER)
        job = await bureau.job()
        await asyncio.sleep(AWAY_S)
        assert (await bureau.now_of(job)).state is JobState.RUNNING
        bureau.stages.trouble = None
        await bureau.all_ended([job], within_s=60)
        assert (await bureau.now_of(job)).state is JobState.SUCCEEDED

        another = await bureau.job()
        bureau.stages.trouble = kills_for(RENDERER, (another.id,))
        await bureau.all_ended([another], within_s=60)
        assert (await bureau.now_of(another)).state is JobState.FAILED
        assert len(bureau.letters()) == 1

    Bureau().run(play)


def test_a_job_that_nobody_can_judge_yet_keeps_no_other_out_of_the_only_slot() -> None:
    """It goes first and its Director has seen the stage do nothing: only the one behind it can show who is at fault."""
    bureau = Bureau()

    async def play(bureau: Bureau) -> None:
        poison = await bureau.job(priority=3)
        bureau.stages.trouble = kills_for(DENOISER, [poison.id])
        await asyncio.sleep(20)
        good = await bureau.job()
        await bureau.all_ended([poison, good], within_s=300)

        assert await bureau.states([poison]) == {JobState.FAILED: 1}
        assert await bureau.states([good]) == {JobState.SUCCEEDED: 1}

    bureau.run(play, slots=1)


def test_a_dead_job_that_is_made_again_ends_as_it_did_and_does_not_look_like_another() -> None:
    async def play(bureau: Bureau) -> None:
        await bureau.all_ended([await bureau.job()], within_s=30.0)
        dead = await bureau.job()
        poison = [dead.id]
        bureau.stages.trouble = kills_for(DENOISER, poison)
        assert await bureau.all_ended([dead], within_s=60.0) == {JobState.FAILED: 1}

        again = dead.model_copy(update={"id": new_id("vid_"), "requeue_of": dead.id})
        poison.append(again.id)
        await bureau.jobs.create(again)

        assert await bureau.all_ended([again], within_s=60.0) == {JobState.FAILED: 1}

    Bureau().run(play)


def test_a_death_that_a_reference_brought_counts_for_the_stage_that_died() -> None:
    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = kills(CONDITIONER)
        await bureau.job()
        await asyncio.sleep(60)
        gauges = bureau.gauges.values.items()
        away = {labels[1] for (name, *labels), value in gauges if name == "longtake_stage_away" and value}
        assert away == {CONDITIONER}

    Bureau().run(play)


def test_a_job_that_ends_its_workers_comes_to_an_end_where_its_stage_is_away_now_and_then() -> None:
    """What was counted while others were done there stays: it tries the stage first each time, and is excused then."""
    killed = 0

    async def play(bureau: Bureau) -> None:
        async def trouble(stage: StageName, whose: str) -> None:
            nonlocal killed
            if stage != DENOISER or whose != poison.id:
                return
            await asyncio.sleep(2.0)
            refused[0] = not refused[0] and killed % 3 == 2
            if refused[0]:
                raise StageAway("full", cause="full", stage=stage)
            killed += 1
            raise StageLost("the worker died", stage=stage, died=f"r{killed}")

        refused = [False]
        jobs = [await bureau.job()]
        await bureau.all_ended(jobs, within_s=30)
        poison = await bureau.job(tenant="t1")
        bureau.stages.trouble = trouble
        while (await bureau.now_of(poison)).state is not JobState.FAILED:
            jobs.append(await bureau.job())
            await asyncio.sleep(1.0)
            assert killed <= 9
        assert await bureau.all_ended(jobs, within_s=30) == {JobState.SUCCEEDED: len(jobs)}

    Bureau().run(play)
