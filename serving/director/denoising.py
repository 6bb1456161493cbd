"""One segment through the Denoiser: slice after slice, on the replica that holds its latents.

`run.py` starts it. A slice goes back to the replica that ran the last one; when that is gone, or falls silent for
longer than its lease, the next one goes to another, which goes on from the newest checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from serving.jobs.history import Span
from serving.jobs.lease import BEAT_EVERY_S, TTL_S, Verdict
from serving.jobs.record import JobRecord
from serving.plan import PlannedSegment
from serving.segments.manifest import LatentRef
from serving.stages.contracts import SliceCall, SliceResult, StageLost
from serving.stages.interface import Ref

from serving.director.context import RunContext  # isort: skip

LONGEST_SLICE_S = 0.5
"""Progress is told once per slice, so slices stay short even where settings allow longer ones."""


@dataclass(frozen=True)
class Went:
    """How a slice began, where that is worth telling."""

    replica: str
    from_step: int
    restored: bool
    """It was read from a checkpoint."""
    recomputed: int
    """Steps that had been done before."""


@dataclass(frozen=True)
class Denoised:
    """A finished segment's latents."""

    latents: LatentRef
    replica: str
    span: Span


class SegmentDenoising:
    """See the module. `record` reads the job's record as it is now: a lost replica makes the next attempt of it."""

    def __init__(
        self,
        context: RunContext,
        planned: PlannedSegment,
        *,
        record: Callable[[], JobRecord],
        fingerprint: str,
        reached: int,
        replica: str | None,
    ) -> None:
        """`reached`: steps of this segment that an earlier attempt is known to have done; it may be resumed."""
        self._context = context
        self._planned = planned
        self._record = record
        self._fingerprint = fingerprint
        self.replica = replica
        self.done = 0
        self.reached = reached
        self._resume = reached > 0 or replica is not None or record().attempt > 1

    async def run(
        self,
        conditions: Callable[[], Ref],
        *,
        told: Callable[[SliceResult], None],
        went: Callable[[Went], None],
        lost: Callable[[StageLost, int, str], Awaitable[None]],
    ) -> Denoised:
        """Slices until the latents are clean. `lost` is told of every replica that goes away, and may raise."""
        began, budget = self._context.now_ms(), 0.0  # the first slice is one step, to tell of it soon
        given = conditions()
        while True:
            try:
                async with self._context.suspects.apart("denoiser", self._record().crashes):
                    result = await self._slice(self._call(budget), given)
            except StageLost as gone:
                await lost(gone, self.done, self.replica or "")
                self.reached, self._resume, self.replica = max(self.reached, self.done), True, None
                given = conditions()
                continue
            self._moved(result, went)
            self.done, self.replica, budget = result.steps_done, result.replica, self._budget()
            told(result)
            if result.latents is not None:
                span = Span(stage="denoising", start_ms=began, end_ms=self._context.now_ms(), replica=result.replica)
                return Denoised(result.latents, result.replica, span)

    def _call(self, budget: float) -> SliceCall:
        record = self._record()
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
            fingerprint=self._fingerprint,
            resume=self._resume,
            rank=self._context.rank(record),
            budget_s=budget,
            replica=self.replica,
        )

    def _budget(self) -> float:
        return min(self._context.slice_s, LONGEST_SLICE_S)

    def _moved(self, result: SliceResult, went: Callable[[Went], None]) -> None:
        """Tell when a slice began elsewhere than where the last one ended."""
        known = max(self.done, self.reached)
        if result.restored or result.from_step < known or (self.replica and result.replica != self.replica):
            went(Went(result.replica, result.from_step, result.restored, max(0, known - result.from_step)))
        self.reached, self._resume = 0, True

    async def _slice(self, call: SliceCall, conditions: Ref) -> SliceResult:
        """One slice. Raises `StageLost` also for a replica that says nothing for longer than its lease."""
        slice_ = asyncio.ensure_future(self._context.stages.run_slice(call, conditions))
        patience = call.budget_s + TTL_S
        try:
            while not (await asyncio.wait({slice_}, timeout=patience))[0]:
                patience = BEAT_EVERY_S
                verdict, lease = await self._context.leases.look(call.job, call.attempt)
                if verdict is Verdict.EXPIRED and lease is not None:
                    await self._context.leases.revoke(call.job, call.attempt)
                    raise StageLost(f"replica {lease.holder} was not heard of for {TTL_S:.0f} s")
        finally:
            slice_.cancel()
        result = slice_.result()
        if result.cancelled:
            raise asyncio.CancelledError
        if result.stale:
            await self._context.epoch.check()
            raise StageLost(f"replica {result.replica} lost its lease")
        return result
