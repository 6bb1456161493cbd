"""Replicas that live and lose their leases, or fall silent: nobody was seen to die, and a job that gets on pays not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import count, repeat
from typing import Any

import pytest

from serving.director.attempt import MAX_CRASHES
from serving.director.publish import Publisher
from serving.errors import Unavailable
from serving.jobs.lease import BEAT_EVERY_S, Leases
from serving.jobs.record import JobRecord, JobState
from serving.stage_names import DENOISER, StageName
from serving.stages.contracts import SliceCall, SliceResult
from serving.stages.interface import Ref
from tests.unit.serving.director.simulated import Bureau

TIMES = MAX_CRASHES + 2
Slice = Callable[[SliceCall, Ref], Coroutine[Any, Any, SliceResult]]


def _first(times: int, instead: Slice, shipped: Slice) -> Slice:
    """So many slices go otherwise."""
    left = iter(range(times))

    async def run_slice(call: SliceCall, conditions: Ref) -> SliceResult:
        return await (shipped if next(left, None) is None else instead)(call, conditions)

    return run_slice


def test_a_replica_that_lives_and_cannot_keep_its_leases_costs_no_job() -> None:
    async def stale(call: SliceCall, conditions: Ref) -> SliceResult:
        await asyncio.sleep(7)
        return SliceResult(0, done=False, replica="r", stale=True)

    async def play(bureau: Bureau) -> None:
        await bureau.all_ended([await bureau.job()], within_s=30)
        bureau.stages.run_slice = _first(TIMES, stale, bureau.stages.run_slice)  # type: ignore[method-assign, assignment]
        job = await bureau.job()
        await bureau.all_ended([job], within_s=240)

        done = await bureau.now_of(job)
        assert (done.state, done.attempt, done.crashes) == (JobState.SUCCEEDED, TIMES + 1, 0)
        assert bureau.letters() == []

    Bureau().run(play)


@pytest.mark.parametrize(
    ("steps", "ends"),
    [
        pytest.param(count(1), (JobState.SUCCEEDED, TIMES + 1, 0), id="it gets on each time"),
        pytest.param(repeat(1), (JobState.FAILED, MAX_CRASHES + 2, MAX_CRASHES), id="at the same step again and again"),
    ],
)
def test_silence_counts_only_where_the_job_gets_no_further(
    steps: Iterator[int], ends: tuple[JobState, int, int]
) -> None:
    async def play(bureau: Bureau) -> None:
        async def hangs(call: SliceCall, conditions: Ref) -> SliceResult:
            leases = Leases(bureau.store)
            lease = await leases.take(call.job, call.attempt, epoch=call.epoch, holder="r", segment=call.segment)
            await asyncio.sleep(BEAT_EVERY_S)
            await leases.beat(lease, segment=call.segment, step=next(steps))
            await asyncio.Event().wait()
            raise AssertionError

        await bureau.all_ended([await bureau.job()], within_s=30)
        bureau.stages.run_slice = _first(TIMES, hangs, bureau.stages.run_slice)  # type: ignore[method-assign, assignment]
        job = await bureau.job()
        await bureau.all_ended([job], within_s=400)

        done = await bureau.now_of(job)
        assert (done.state, done.attempt, done.crashes) == ends

    Bureau().run(play)


def test_of_a_run_that_has_ended_no_lease_is_watched_any_more() -> None:
    async def play(bureau: Bureau) -> None:
        shipped = bureau.stages.run_slice

        async def long(call: SliceCall, conditions: Ref) -> SliceResult:
            leases = Leases(bureau.store)
            lease = await leases.take(call.job, call.attempt, epoch=call.epoch, holder="r", segment=call.segment)
            for _ in range(8):
                await asyncio.sleep(BEAT_EVERY_S)
                lease = await leases.beat(lease, segment=call.segment, step=0)
            return await shipped(call, conditions)

        bureau.stages.run_slice = long  # type: ignore[method-assign]
        job = await bureau.job()
        assert bureau.director is not None
        watch = bureau.director._running._context.leases
        await asyncio.sleep(14)
        assert watch._seen.keys() == {job.id}
        await bureau.all_ended([job], within_s=30)
        assert watch._seen == {}

    Bureau().run(play)


@pytest.mark.parametrize("stop", ["its deadline", "its user"])
def test_a_job_that_is_stopped_while_another_end_of_it_is_written_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    shipped = Publisher.requeue

    async def requeue(publisher: Publisher, record: JobRecord, why: str, **changes: object) -> JobRecord:
        await asyncio.sleep(6)
        return await shipped(publisher, record, why, **changes)

    async def trouble(stage: StageName, whose: str) -> None:
        if stage == DENOISER:
            raise Unavailable("the store is away")

    async def play(bureau: Bureau) -> None:
        monkeypatch.setattr(Publisher, "requeue", requeue)
        bureau.stages.trouble = trouble
        job = await bureau.job(deadline_s=3 if stop == "its deadline" else None)
        await asyncio.sleep(3)
        assert bureau.director is not None
        if stop == "its user":
            await bureau.jobs.transition(await bureau.now_of(job), cancel_requested=True)
            bureau.director.wake(*job.key)
        for _ in range(30):
            await asyncio.sleep(0.05)
            left = job.key not in bureau.director._waiting and job.key not in bureau.director._running
            ended = (await bureau.now_of(job)).state.terminal
            assert ended or not left
        assert (await bureau.now_of(job)).state is (JobState.CANCELLED if stop == "its user" else JobState.EXPIRED)

    Bureau().run(play)
