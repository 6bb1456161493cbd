"""Several models under one Director: each has stages and slots of its own, and tenants share all of them."""

from __future__ import annotations

import asyncio

import pytest

from serving.director.running import RunningJobs
from serving.jobs.record import JobRecord, JobState
from serving.stage_names import DENOISER, RENDERER, StageName
from tests.unit.serving.director.simulated import Bureau, ToldStages
from tests.unit.serving.director.troubles import kills, refuses

OTHER = "other-1"


def bureau_of_two() -> Bureau:
    bureau = Bureau()
    bureau.others[OTHER] = ToldStages()
    return bureau


@pytest.mark.parametrize("trouble", [refuses, kills])
@pytest.mark.parametrize("stage", [DENOISER, RENDERER])
def test_a_model_whose_stage_is_away_holds_up_nobody_elses_job(stage: StageName, trouble: type) -> None:
    """More of its jobs than there are slots and places, older and more urgent ones; the same tenant's."""

    async def play(bureau: Bureau) -> None:
        bureau.others[OTHER].trouble = trouble(stage)
        stuck = [await bureau.job(model=OTHER, priority=1) for _ in range(40)]
        await asyncio.sleep(60)
        jobs = [await bureau.job(priority=9) for _ in range(40)]
        assert await bureau.all_ended(jobs, within_s=10) == {JobState.SUCCEEDED: 40}
        assert set(await bureau.states(stuck)) <= {JobState.QUEUED, JobState.RUNNING}
        assert all(f"the stage {stage} of {OTHER} is away" in bureau.whys()[job.key] for job in stuck)
        assert bureau.gauges.values["longtake_workers_lost_total", "sprite-2", stage] == 0

        late = await bureau.job()
        await asyncio.sleep(0.01)
        bureau.director.feed.beat()  # type: ignore[union-attr]
        assert "away" not in bureau.whys().get(late.key, "")
        bureau.others[OTHER].trouble = None
        assert await bureau.all_ended(stuck, within_s=60) == {JobState.SUCCEEDED: 40}

    bureau_of_two().run(play)


def test_jobs_of_a_model_that_is_taken_away_wait_and_say_so_and_go_on_when_it_is_back() -> None:
    """One that runs, whose stages are away from then on, and some that wait."""

    async def play(bureau: Bureau) -> None:
        assert bureau.director is not None
        both = bureau.served(slots=1)
        one = {name: served for name, served in both.items() if name != OTHER}
        bureau.director.serve(both)
        bureau.others[OTHER].trouble = refuses(RENDERER)
        theirs = [await bureau.job(model=OTHER) for _ in range(4)]
        await asyncio.sleep(5)
        bureau.director.serve(one)
        theirs.append(await bureau.job(model=OTHER))
        ours = [await bureau.job() for _ in range(4)]

        assert await bureau.all_ended(ours, within_s=20) == {JobState.SUCCEEDED: 4}
        assert await bureau.states(theirs) == {JobState.RUNNING: 1, JobState.QUEUED: 4}
        whys = [bureau.whys()[job.key] for job in theirs]
        assert sorted({why.partition(":")[0] for why in whys}) == [
            f"its model {OTHER} is not served here",
            f"the stage renderer of {OTHER} is away",
        ]
        assert {job.key for job in theirs} == set(bureau.director.feed.held)

        bureau.others[OTHER].trouble = None
        bureau.director.serve(both)
        assert await bureau.all_ended(theirs, within_s=60) == {JobState.SUCCEEDED: 5}
        assert not bureau.letters()

    bureau_of_two().run(play)


def test_a_director_that_starts_without_a_model_leaves_its_jobs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither claimed nor failed; one that is cancelled or overdue ends all the same."""

    async def play(bureau: Bureau) -> None:
        running = await bureau.job(model="gone-1", tenant="b")
        started = RunningJobs.start
        monkeypatch.setattr(RunningJobs, "start", None)  # none of them may come to it
        jobs = [await bureau.job(model="gone-1") for _ in range(3)]
        overdue = await bureau.job(model="gone-1", deadline_s=20)
        await asyncio.sleep(30)
        assert await bureau.states([running, *jobs, overdue]) == {JobState.QUEUED: 4, JobState.EXPIRED: 1}
        assert {(await bureau.now_of(job)).attempt for job in jobs} == {0}
        assert all(bureau.whys()[job.key] == "its model gone-1 is not served here" for job in jobs)
        monkeypatch.setattr(RunningJobs, "start", started)
        assert await bureau.all_ended([await bureau.job()], within_s=5) == {JobState.SUCCEEDED: 1}

    Bureau().run(play)


def test_jobs_whose_records_are_unread_are_all_done_whichever_model_they_are_of() -> None:
    """More than are read ahead, of two models that are served and one that is not, older ones of that first."""

    gone: list[JobRecord] = []
    served: list[JobRecord] = []

    async def before(bureau: Bureau) -> None:
        gone.extend([await bureau.job(model="gone-1", tenant=f"t{n % 3}", priority=1) for n in range(200)])
        served.extend([await bureau.job(model=(OTHER, "sprite-2")[n % 2], tenant=f"t{n % 3}") for n in range(100)])

    async def play(bureau: Bureau) -> None:
        assert await bureau.all_ended(served, within_s=60) == {JobState.SUCCEEDED: 100}
        assert await bureau.states(gone) == {JobState.QUEUED: 200}

    bureau_of_two().run(play, before=before)


def test_the_backlog_of_each_model_is_told_by_itself() -> None:
    async def play(bureau: Bureau) -> None:
        assert bureau.director is not None
        bureau.others[OTHER].trouble = refuses(DENOISER)
        for _ in range(3):
            await bureau.job(model=OTHER)
        await asyncio.sleep(20)
        backlogs = bureau.director.backlogs()
        assert {name: backlog.jobs for name, backlog in backlogs.items()} == {"sprite-2": 0, OTHER: 3}
        assert backlogs[OTHER].seconds[DENOISER] > 0 == backlogs["sprite-2"].seconds[DENOISER]
        assert bureau.gauges.values["longtake_backlog_seconds", OTHER, DENOISER] > 0

    bureau_of_two().run(play)


def test_how_long_jobs_wait_in_the_queue_is_told_by_model_and_once_for_each() -> None:
    """Of one model that is served at once, and of one that is half a minute late and then loses workers."""

    async def play(bureau: Bureau) -> None:
        assert bureau.director is not None
        both = bureau.served(slots=4)
        bureau.director.serve({name: served for name, served in both.items() if name != OTHER})
        bureau.others[OTHER].trouble = kills(DENOISER)
        soon = [await bureau.job() for _ in range(3)]
        late = [await bureau.job(model=OTHER) for _ in range(3)]
        assert await bureau.all_ended(soon, within_s=20) == {JobState.SUCCEEDED: 3}
        await asyncio.sleep(30)
        bureau.director.serve(both)
        await asyncio.sleep(5)
        bureau.others[OTHER].trouble = None
        assert await bureau.all_ended(late, within_s=120) == {JobState.SUCCEEDED: 3}
        assert max([(await bureau.jobs.get(*job.key)).attempt for job in late]) > 1

        waits = {model: bureau.gauges.observed["longtake_queue_seconds", model] for model in ("sprite-2", OTHER)}
        assert {model: len(waited) for model, waited in waits.items()} == {"sprite-2": 3, OTHER: 3}
        assert max(waits["sprite-2"]) < 20
        assert min(waits[OTHER]) >= 30

    bureau_of_two().run(play)
