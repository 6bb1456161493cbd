"""Bugs in how the Director runs jobs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from serving.director import attempt, chain, claims
from serving.director.attempt import Attempt
from serving.director.blame import Blame
from serving.director.claims import Claims
from serving.director.denoising import SegmentDenoising
from serving.director.lookout import Lookout
from serving.director.queue.waiting import WaitingJobs
from serving.director.running import RunningJobs
from serving.director.suspects import Suspects
from serving.jobs.lease import LeaseWatch
from serving.jobs.record import JobRecord
from serving.plan import PlannedSegment
from serving.stage_names import CountedWork
from serving.stages.contracts import SliceCall, StageAway, StageLost
from tests.sim.plants.plant import Plant, nothing, put


def ignores_cancel(stack: ExitStack) -> None:
    """A running job is never stopped when its user cancels it."""
    put(stack, RunningJobs, "cancel_if_asked", lambda self, record: None)


def ignores_deadline(stack: ExitStack) -> None:
    """A running job is never stopped at its deadline."""

    async def end_overdue(self: RunningJobs) -> None:
        await asyncio.Event().wait()

    put(stack, RunningJobs, "end_overdue", end_overdue)


def waits_past_deadline(stack: ExitStack) -> None:
    """A job that waits is not ended at its deadline, only when its turn comes."""
    put(stack, WaitingJobs, "overdue", lambda self, now_ms, most: [])


def no_cap(stack: ExitStack) -> None:
    """Crashes never end a job."""
    put(stack, attempt, "MAX_CRASHES", 10**6)
    put(stack, claims, "MAX_CRASHES", 10**6)


def cap_of_two(stack: ExitStack) -> None:
    """A job fails after two lost workers."""
    put(stack, attempt, "MAX_CRASHES", 2)
    put(stack, claims, "MAX_CRASHES", 2)


def suspects_together(stack: ExitStack) -> None:
    """A job that loses its workers is not kept apart from others."""

    @contextlib.asynccontextmanager
    async def apart(self: Suspects, stage: CountedWork, crashes: int) -> AsyncIterator[bool]:
        yield False

    put(stack, Suspects, "apart", apart)


def never_lists(stack: ExitStack) -> None:
    """A Director lists the jobs when it starts, and never again."""
    list_once = Lookout._list

    async def once(self: Lookout) -> None:
        await list_once(self)
        await asyncio.Event().wait()

    put(stack, Lookout, "_list", once)


def never_resumes(stack: ExitStack) -> None:
    """A lost segment begins at its noise again, whatever checkpoint there is."""
    call = SegmentDenoising._call

    def anew(self: SegmentDenoising, budget_s: float) -> SliceCall:
        self._resume = False
        return call(self, budget_s)

    put(stack, SegmentDenoising, "_call", anew)


def renders_twice(stack: ExitStack) -> None:
    """A job that goes on makes its newest segment once more."""
    remaining = chain.remaining

    def with_newest(record: JobRecord) -> tuple[PlannedSegment, ...]:
        left = len(remaining(record))
        return record.plan.segments[max(0, len(record.plan.segments) - left - 1) :]

    put(stack, chain, "remaining", with_newest)


def takes_over_unlooked(stack: ExitStack) -> None:
    """A Director claims what an earlier one runs without looking at its lease."""

    async def take_over(self: Claims, record: JobRecord) -> claims.Claimed:
        return claims.Claimed(await self._publisher.claim(record, "its Director went away"))

    async def adopt(self: Claims, tenant: str, job: str) -> JobRecord | None:
        return await self._jobs.find(tenant, job)

    put(stack, Claims, "_take_over", take_over)
    put(stack, Claims, "adopt", adopt)


def revokes_nothing(stack: ExitStack) -> None:
    """A lease that has expired is not taken away from its holder."""
    put(stack, LeaseWatch, "revoke", nothing)


def closes_nothing(stack: ExitStack) -> None:
    """What a Director before this one sent may begin beside the next attempt."""

    async def close(self: LeaseWatch, job: str, attempt: int, *, epoch: int) -> bool:
        return True

    put(stack, LeaseWatch, "close", close)


def counts_away(stack: ExitStack) -> None:
    """That a stage is away counts as a crash of every job that calls it."""
    answer = Attempt._answer

    async def lost(self: Attempt, stages: Any, caller: Any, work: Any) -> Any:
        try:
            return await answer(self, stages, caller, work)
        except StageAway as away:
            raise StageLost(away.message, stage=away.stage) from away

    put(stack, Attempt, "_answer", lost)


def excuses_for_good(stack: ExitStack) -> None:
    """A job that was excused is never suspected again, though the stage turned out to be sound."""
    put(stack, Blame, "_is_doubted", lambda self, stage: False)


BUGS: dict[str, Plant] = {
    "ignores-cancel": ignores_cancel,
    "ignores-deadline": ignores_deadline,
    "waits-past-deadline": waits_past_deadline,
    "no-cap": no_cap,
    "cap-of-two": cap_of_two,
    "suspects-together": suspects_together,
    "never-lists": never_lists,
    "never-resumes": never_resumes,
    "renders-twice": renders_twice,
    "takes-over-unlooked": takes_over_unlooked,
    "revokes-nothing": revokes_nothing,
    "closes-nothing": closes_nothing,
    "counts-away": counts_away,
    "excuses-for-good": excuses_for_good,
}
