"""One segment through the Denoiser: slice after slice, on the replica that holds its latents.

`run.py` starts it. A slice goes back to the replica that ran the last one; when that is gone, or falls silent for
longer than its lease, the next one goes to another, which goes on from the newest checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from serving.director import chain
from serving.director.attempt import Attempt, NotDone
from serving.director.conditions import Conditions
from serving.director.context import RunContext
from serving.jobs.history import EventKind, WorkSpan
from serving.jobs.lease import BEAT_EVERY_S, TTL_S, Verdict
from serving.metrics import STEPS_RECOMPUTED
from serving.plan import PlannedSegment
from serving.segments.manifest import LatentRef
from serving.stage_names import CONDITIONER, DENOISER, TEXT_ENCODER, CountedWork
from serving.stages.contracts import ConditionCall, SliceCall, SliceResult, StageAway, StageLost
from serving.stages.interface import Ref

_TO_BEGIN: tuple[CountedWork, ...] = (TEXT_ENCODER, CONDITIONER, DENOISER)
"""What the first slice after `Conditions.gather` waits for."""
LONGEST_SLICE_S = 0.5
"""Progress is told once per slice, so slices stay short even where settings allow longer ones."""


@dataclass(frozen=True)
class Denoised:
    """A finished segment's latents."""

    latents: LatentRef
    replica: str
    span: WorkSpan
    steps_reused: int = 0


class SegmentDenoising:
    """See the module. A lost replica makes the next attempt of the record, so it is read from `attempt` anew."""

    def __init__(
        self,
        attempt: Attempt,
        context: RunContext,
        planned: PlannedSegment,
        call: ConditionCall,
        *,
        reached: int,
        replica: str | None,
        adopted: bool,
        on_slice: Callable[[SliceResult], None],
    ) -> None:
        """`reached`: steps of this segment that an earlier attempt is known to have done; it may be resumed.

        `replica`: where they were done, if that is known. `adopted`: another Director may have begun this segment, and
        even ended it: it denoised ahead of what it committed. `on_slice` is told how every slice ended.
        """
        self._attempt = attempt
        self._context = context
        self._planned = planned
        self._wanted = call
        self._fingerprint = chain.fingerprint(attempt.record, call, planned)
        self._reached = reached
        self._replica = replica
        self._on_slice = on_slice
        self._given: Ref | None = None
        """What is denoised towards, once it was asked for."""
        self._done = 0
        self._resume = adopted or reached > 0 or replica is not None or attempt.record.attempt > 1

    async def run(self, conditions: Conditions) -> Denoised:
        """Slices until the latents are clean. Raises as `Attempt.call` does, but for `NotDone`."""
        began, budget_s = self._context.now_ms(), 0.0  # the first slice is one step, to tell of it soon
        needed = _TO_BEGIN
        while True:
            try:
                result = await self._attempt.call(
                    needed,
                    partial(self._slice, budget_s, conditions),
                    finished=lambda result: result.done,
                    at=chain.Reached(self._planned.index, self._done, self._replica),
                    segment=self._planned.index,
                )
            except NotDone:
                conditions.forget()
                self._reached, self._resume, self._replica = max(self._reached, self._done), True, None
                self._given, needed = None, _TO_BEGIN
                continue
            needed = (DENOISER,)
            self._note_move(result)
            self._done, self._replica, budget_s = result.steps_done, result.replica, self._budget_s()
            self._on_slice(result)
            self._measure(result)
            if result.latents is not None:
                span = WorkSpan(
                    stage="denoising", start_ms=began, end_ms=self._context.now_ms(), replica=result.replica
                )
                return Denoised(result.latents, result.replica, span, result.steps_reused)

    def _call(self, budget_s: float) -> SliceCall:
        record = self._attempt.record
        plan = record.plan
        return SliceCall(
            tenant=record.tenant,
            job=record.id,
            attempt=record.attempt,
            epoch=record.epoch,
            model=plan.model,
            segment=self._planned.index,
            seed=plan.seed,
            steps=plan.steps,
            step_cache=plan.step_cache,
            fingerprint=self._fingerprint,
            resume=self._resume,
            rank=self._context.rank(record),
            budget_s=budget_s,
            replica=self._replica,
        )

    def _budget_s(self) -> float:
        return min(self._context.slice_s, LONGEST_SLICE_S)

    def _note_move(self, result: SliceResult) -> None:
        """Note when a slice began elsewhere than where the last one ended."""
        known = max(self._done, self._reached)
        recomputed = max(0, known - result.from_step)
        if result.restored or result.from_step < known or (self._replica and result.replica != self._replica):
            self._context.metrics.add(STEPS_RECOMPUTED, recomputed)
            self._attempt.note(
                EventKind.RESUMED,
                segment=self._planned.index,
                step=result.from_step,
                recomputed=recomputed,
                replica=result.replica,
                text=_whence(result),
            )
        self._reached, self._resume = 0, True

    def _measure(self, result: SliceResult) -> None:
        steps = result.steps_done - result.from_step
        if steps > 0:
            self._context.measured(DENOISER, self._attempt.record, self._planned, steps, result.step_seconds)

    async def _slice(self, budget_s: float, conditions: Conditions) -> SliceResult:
        """One slice. Raises `StageLost` also for a replica that says nothing for longer than its lease, and `StageAway`
        for one that could not keep its lease.
        """
        if self._given is None:  # and not before: what is made while a call waits for its turn is lost with its holder
            self._given = conditions.gather(self._wanted)
        call = self._call(budget_s)
        slice_ = asyncio.ensure_future(self._attempt.stages.run_slice(call, self._given))
        patience = call.budget_s + TTL_S
        try:
            while not (await asyncio.wait({slice_}, timeout=patience))[0]:
                patience = BEAT_EVERY_S
                verdict, lease = await self._context.leases.look(call.job, call.attempt)
                if verdict is Verdict.EXPIRED and lease is not None:
                    await self._context.leases.revoke(call.job, call.attempt)
                    raise StageLost(
                        f"replica {lease.holder} was not heard of for {TTL_S:.0f} s",
                        silent_at=(lease.segment, lease.step),
                    )
        finally:
            slice_.cancel()
        result = slice_.result()
        if result.cancelled:
            raise asyncio.CancelledError
        if result.stale:
            await self._context.epoch.check()
            # It answered, so it lives: only the store is slow for it, or was.
            raise StageAway(f"replica {result.replica} lost its lease", stage=DENOISER, may_have_begun=True)
        return result


def _whence(result: SliceResult) -> str:
    if result.restored:
        return "from a checkpoint"
    return "from what the replica held" if result.from_step else ""
