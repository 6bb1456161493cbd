"""Stages that are away, or that end whoever works there: nobody's job fails by that."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from serving.director.attempt import MAX_CRASHES
from serving.director.stage_gate import LOOK_EVERY_S
from serving.director.stage_health import FIRST_PAUSE_S, LONGEST_PAUSE_S
from serving.errors import Unavailable
from serving.jobs.history import EventKind
from serving.jobs.record import JobState
from serving.stage_names import CONDITIONER, DENOISER, RENDERER, StageName
from serving.stages.contracts import RENDERS_AT_ONCE, ConditionCall, StageAway, StageLost
from serving.stages.interface import Ref
from tests.unit.serving.director.simulated import Bureau
from tests.unit.serving.director.troubles import Trouble, kills, refuses

PICTURE = "a" * 64
AWAY_S = 600.0


@pytest.mark.parametrize("stage", [RENDERER, CONDITIONER, DENOISER])
@pytest.mark.parametrize("trouble", [refuses, kills])
def test_a_stage_that_is_away_for_everybody_costs_no_job(
    stage: StageName, trouble: Callable[[StageName], Trouble]
) -> None:
    async def play(bureau: Bureau) -> None:
        first = await bureau.job(references=(PICTURE,))  # so it has worked before
        assert await bureau.all_ended([first], within_s=30) == {JobState.SUCCEEDED: 1}
        bureau.stages.trouble = trouble(stage)
        jobs = [await bureau.job(tenant=f"t{number % 6}", references=(PICTURE,)) for number in range(60)]
        bureau.stages.calls.clear()
        await asyncio.sleep(AWAY_S)

        assert set(await bureau.states(jobs)) == {JobState.QUEUED, JobState.RUNNING}
        assert bureau.quarantined == 0
        assert bureau.stages.calls[stage] < 2.5 * AWAY_S / LONGEST_PAUSE_S
        running = [found for job in jobs if (found := await bureau.now_of(job)).state is JobState.RUNNING]
        assert all(record.crashes < MAX_CRASHES / 2 + 1 for record in running)
        assert any(f"the stage {stage} of sprite-2 is away" in why for why in bureau.whys().values())

        bureau.stages.trouble = None
        assert await bureau.all_ended(jobs, within_s=LONGEST_PAUSE_S + 60) == {JobState.SUCCEEDED: 60}
        assert not any("away" in why for why in bureau.whys().values())

    Bureau().run(play)


def test_while_a_stage_is_away_nothing_is_written_but_that_a_job_waits_and_goes_on() -> None:
    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = refuses(RENDERER)
        job = await bureau.job()
        await asyncio.sleep(30)
        before = (await bureau.now_of(job)).version
        await asyncio.sleep(AWAY_S)
        waiting = await bureau.now_of(job)
        assert (waiting.version, waiting.attempt, waiting.crashes) == (before, 1, 0)
        assert waiting.events[-1].kind is EventKind.REQUEUED
        assert "the stage renderer of sprite-2 is away: no replica is up, since" in waiting.events[-1].text
        assert bureau.gauges.values["longtake_stage_away", "sprite-2", "renderer", "no_replica"] == 1

        bureau.stages.trouble = None
        await bureau.all_ended([job], within_s=2 * LONGEST_PAUSE_S)
        kinds = [event.kind for event in (await bureau.now_of(job)).events]
        assert kinds[-3:] == [EventKind.RESUMED, EventKind.COMMITTED, EventKind.ENDED]
        assert bureau.gauges.values["longtake_stage_away", "sprite-2", "renderer", "no_replica"] == 0
        assert bureau.gauges.values["longtake_stage_away_seconds_total", "sprite-2", "renderer"] >= AWAY_S

    Bureau().run(play)


def test_a_call_that_waits_for_a_replica_is_told_as_that() -> None:
    """Serve raises nothing where replicas are being started: the call waits inside."""
    up = asyncio.Event()

    async def trouble(stage: StageName, whose: str) -> None:
        if stage == RENDERER:
            await up.wait()

    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble, bureau.stages.up = trouble, {RENDERER: 0}
        jobs = [await bureau.job() for _ in range(12)]
        await asyncio.sleep(AWAY_S)
        assert bureau.stages.calls[RENDERER] <= len(jobs)
        assert all("the stage renderer of sprite-2 is away: no replica is up" in why for why in bureau.whys().values())
        assert bureau.gauges.values["longtake_stage_away", "sprite-2", "renderer", "no_replica"] == 1
        bureau.stages.up = {RENDERER: 1}
        up.set()
        assert await bureau.all_ended(jobs, within_s=30) == {JobState.SUCCEEDED: 12}

    Bureau().run(play)


def test_segments_that_wait_for_a_place_when_their_stage_goes_away_are_not_sent_there() -> None:
    async def slow(called: StageName, whose: str) -> None:
        if called == RENDERER:
            await asyncio.sleep(1.0)

    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = slow
        jobs = [await bureau.job(tenant=f"t{number % 6}") for number in range(60)]
        await asyncio.sleep(1.5)
        bureau.stages.trouble = refuses(RENDERER)
        bureau.stages.calls.clear()
        await asyncio.sleep(LONGEST_PAUSE_S)
        tries = math.log2(2 * LONGEST_PAUSE_S / FIRST_PAUSE_S) + 1
        assert bureau.stages.calls[RENDERER] <= RENDERS_AT_ONCE + tries

        bureau.stages.trouble = None
        assert await bureau.all_ended(jobs, within_s=LONGEST_PAUSE_S + 60) == {JobState.SUCCEEDED: 60}

    Bureau().run(play, slots=60)


def test_a_stage_that_is_back_works_though_another_one_stays_away() -> None:
    """A call that needs both waits for the one, and keeps nobody from trying the other."""
    gone = asyncio.Event()
    first: set[str] = set()
    denoisers = True

    async def trouble(stage: StageName, whose: str) -> None:
        if stage == RENDERER and whose in first:
            await gone.wait()
        elif stage == RENDERER:
            await asyncio.sleep(2 * AWAY_S)  # Serve lets it wait for a replica
        if stage == RENDERER or (stage == DENOISER and not denoisers):
            raise StageAway("failed to deploy", cause="no_replica", stage=stage)

    async def play(bureau: Bureau) -> None:
        nonlocal denoisers
        bureau.stages.trouble, bureau.stages.up = trouble, {RENDERER: 0}
        first.add((await bureau.job()).id)
        await bureau.job()
        await asyncio.sleep(30)
        denoisers = False
        await bureau.job()
        await asyncio.sleep(30)
        gone.set()
        await asyncio.sleep(60)

        denoisers = True
        bureau.stages.calls.clear()
        await asyncio.sleep(2 * LONGEST_PAUSE_S)
        assert bureau.stages.calls[DENOISER]
        waits = [why for why in bureau.whys().values() if why.startswith("the stage")]
        assert all("the stage renderer of sprite-2 is away" in why for why in waits)
        assert len(waits) == 3

    Bureau().run(play)


def test_a_stage_that_ends_its_workers_and_then_takes_no_calls_is_tried_ever_more_seldom() -> None:
    """Also by jobs that lost nothing there."""
    full = False

    async def trouble(stage: StageName, whose: str) -> None:
        if stage == RENDERER and full:
            raise StageAway("all places are taken", cause="full", stage=RENDERER)
        if stage == RENDERER:
            await asyncio.sleep(0.1)
            raise StageLost("the worker died", stage=RENDERER)

    async def play(bureau: Bureau) -> None:
        nonlocal full
        bureau.stages.trouble = trouble
        for number in range(4):
            await bureau.job(tenant=f"t{number}")
        await asyncio.sleep(60)
        full = True
        for number in range(4):
            await bureau.job(tenant=f"u{number}")
        bureau.stages.calls.clear()
        await asyncio.sleep(AWAY_S)
        assert bureau.stages.calls[RENDERER] < 2.5 * AWAY_S / LONGEST_PAUSE_S

    Bureau().run(play, slots=8)


def test_a_full_stage_that_has_replicas_is_not_away_however_long_it_takes() -> None:
    async def trouble(stage: StageName, whose: str) -> None:
        if stage == RENDERER:
            await asyncio.sleep(90)

    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble, bureau.stages.up = trouble, {RENDERER: 1, DENOISER: 1}
        job = await bureau.job()
        await bureau.all_ended([job], within_s=100)
        assert not [name for name, *_ in bureau.gauges.values if name == "longtake_stage_away"]

    Bureau().run(play)


def test_nobody_waits_for_a_count_of_the_replicas() -> None:
    """Serve's controller may be away itself."""

    async def trouble(stage: StageName, whose: str) -> None:
        if stage == RENDERER:
            await asyncio.sleep(3 * LOOK_EVERY_S)

    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = trouble
        bureau.stages.counts.clear()
        jobs = [await bureau.job() for _ in range(3)]
        assert await bureau.all_ended(jobs, within_s=120) == {JobState.SUCCEEDED: 3}

    Bureau().run(play)


def test_a_job_that_waits_for_a_stage_can_be_cancelled_and_expires() -> None:
    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = refuses(DENOISER)
        urgent, job = await bureau.job(deadline_s=60), await bureau.job()
        await asyncio.sleep(30)
        await bureau.jobs.transition(await bureau.now_of(job), cancel_requested=True)
        assert bureau.director is not None
        bureau.director.wake(*job.key)
        await asyncio.sleep(1)
        assert (await bureau.now_of(job)).state is JobState.CANCELLED
        await asyncio.sleep(31)
        assert (await bureau.now_of(urgent)).state is JobState.EXPIRED

    Bureau().run(play)


def test_a_call_that_may_have_begun_is_made_again_under_an_attempt_of_its_own_and_counts_for_nothing() -> None:
    async def trouble(stage: StageName, whose: str) -> None:
        if stage == DENOISER and lost:
            raise lost.pop()

    lost = [StageAway("the connection is gone", may_have_begun=True) for _ in range(MAX_CRASHES + 1)]

    async def play(bureau: Bureau) -> None:
        bureau.stages.trouble = trouble
        job = await bureau.job()
        await bureau.all_ended([job], within_s=120)
        done = await bureau.now_of(job)
        assert (done.state, done.attempt, done.crashes) == (JobState.SUCCEEDED, MAX_CRASHES + 2, 0)

    Bureau().run(play)


def test_losses_of_jobs_that_end_while_they_wait_are_forgotten() -> None:
    async def play(bureau: Bureau) -> None:
        async def fails(called: StageName, whose: str) -> None:
            raise Unavailable("the stage's own store is away")

        bureau.stages.trouble = fails
        jobs = [await bureau.job() for _ in range(5)]
        await asyncio.sleep(60)
        assert bureau.director is not None
        losses = bureau.director._running._losses
        assert set(losses) == {job.key for job in jobs}

        for job in jobs[1:]:
            await bureau.jobs.transition(await bureau.now_of(job), cancel_requested=True)
            bureau.director.wake(*job.key)
        await asyncio.sleep(60)

        assert set(losses) == {jobs[0].key}

    Bureau().run(play)


def test_what_a_job_is_denoised_towards_is_not_made_before_its_turn() -> None:
    """A replica that goes away meanwhile would take it with it, and the job would be lost without having run."""

    async def play(bureau: Bureau) -> None:
        made = 0
        condition = bureau.stages.condition

        def counted(call: ConditionCall, text: Ref) -> Ref:
            nonlocal made
            made += 1
            return condition(call, text)

        bureau.stages.condition = counted  # type: ignore[method-assign]
        first = await bureau.job()
        assert await bureau.all_ended([first], within_s=30) == {JobState.SUCCEEDED: 1}
        bureau.stages.trouble, made = refuses(DENOISER), 0
        bureau.stages.calls.clear()
        jobs = [await bureau.job() for _ in range(12)]
        await asyncio.sleep(AWAY_S)

        assert made <= bureau.stages.calls[DENOISER]

        bureau.stages.trouble = None
        assert await bureau.all_ended(jobs, within_s=LONGEST_PAUSE_S + 60) == {JobState.SUCCEEDED: 12}

    Bureau().run(play)
