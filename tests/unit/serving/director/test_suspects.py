"""A job that ends its workers comes to an end, and takes no other with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.director import attempt
from serving.director.suspects import SUSPECT_FROM, Suspects
from serving.jobs.dead import DeadLetters
from serving.jobs.record import JobState
from serving.stage_names import CONDITIONER, DENOISER, CountedWork, ModelStage
from serving.stages.contracts import RenderCall, RenderResult, StageLost
from serving.stages.interface import Ref
from tests.unit.serving.director.conftest import TENANT, Office

pytestmark = pytest.mark.anyio


class Worker:
    """A Renderer that `poison` kills, and with it every job that is being rendered there: at first, all of them."""

    def __init__(self, render: Callable[[RenderCall, Ref], Awaitable[RenderResult]], jobs: int) -> None:
        self.poison = ""
        self.deaths = 0
        self._all_here = asyncio.Barrier(jobs)
        self._seen: set[str] = set()
        self._render = render
        self._died = asyncio.Event()

    async def render(self, call: RenderCall, latents: Ref) -> RenderResult:
        died = self._died
        if call.job not in self._seen:
            self._seen.add(call.job)
            await self._all_here.wait()
        if call.job == self.poison:
            await asyncio.sleep(0.02)
            self.deaths += 1
            self._died = asyncio.Event()
            died.set()
        try:
            async with asyncio.timeout(0.3):
                await died.wait()
        except TimeoutError:
            return await self._render(call, latents)
        raise StageLost("the worker died")


async def test_of_jobs_whose_worker_dies_again_and_again_only_the_guilty_one_fails(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(office.stages.render, jobs=4)
    monkeypatch.setattr(office.stages, "render", worker.render)
    jobs = [await office.job(tenant=tenant) for tenant in (TENANT, "a", "b", "c")]
    worker.poison = jobs[0].id
    await office.director(slots=4)

    guilty, *innocent = [await office.ended(job) for job in jobs]

    assert guilty.state is JobState.FAILED
    # Until the first innocent one gets through, nobody can tell that it is not the stage: those deaths do not count.
    assert attempt.MAX_CRASHES <= worker.deaths <= 2 * attempt.MAX_CRASHES
    assert [record.state for record in innocent] == [JobState.SUCCEEDED] * 3
    letters = DeadLetters(office.store)
    assert [job.tenant for job in jobs if [dead async for dead in letters.of(job.tenant)]] == [TENANT]


async def test_suspects_whose_calls_need_a_stage_in_common_are_never_there_together() -> None:
    """One reads its pictures at the Conditioner; the slice of another one waits for what the Conditioner makes."""
    suspects, inside, most = Suspects(), 0, 0

    async def call(*stages: CountedWork) -> None:
        nonlocal inside, most
        for _ in range(20):
            async with suspects.apart([ModelStage("tiny", stage) for stage in stages], SUSPECT_FROM) as alone:
                assert alone
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(call(CONDITIONER))
        group.create_task(call(DENOISER, CONDITIONER))
        group.create_task(call(CONDITIONER, DENOISER))

    assert most == 1
