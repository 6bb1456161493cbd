"""Denoiser: a segment's latents from noise, in slices, on one engine loop per replica.

The Director sends a segment's slices to the replica that holds its latents. A slice that comes elsewhere goes on from
the newest checkpoint, or starts the segment again: noise is drawn from (seed, segment) alone, so the result is the
same. Finished latents go to the store at once; a bounded number of them stays here, to be taken without a read. What is
held is found by the fingerprint of the work and by the digest of what came of it, never by a name alone. The replica
holds the attempt's lease while it has slices of it (`lease_keeper.py`), and refuses slices and cancellations of a
Director that was replaced.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engines.families import step_cache
from engines.families.base import Array, Conditions, Denoising
from serving.errors import LongtakeError
from serving.logs import logger
from serving.metrics import CHECKPOINT_SECONDS, STEP_SECONDS, STEPS_DONE, STEPS_REUSED
from serving.segments.manifest import LatentRef
from serving.stages.batching import Batching
from serving.stages.checkpoint import CheckpointedWork, CheckpointPolicy, Checkpoints
from serving.stages.contracts import CancelCall, SliceCall, SliceResult, StageAway, TakeCall
from serving.stages.engine_loop import HELD, EngineLoop, SegmentKey, SliceEnd
from serving.stages.latents import get_latents, put_latents
from serving.stages.lease_keeper import LeaseKeeper
from serving.stages.loaded import Loaded
from serving.stages.previews import Previews

COUNTED = 256
KEPT = 32
"""Finished segments whose latents are still here."""

_log = logger("denoiser")


class _Finished(NamedTuple):
    """A segment that is done."""

    latents: Array
    ref: LatentRef
    """The same in the store."""
    steps_reused: int


class Denoiser:
    """See the module. `start` it before the first slice, `stop` it at the end."""

    def __init__(
        self,
        loaded: Loaded,
        replica: str,
        *,
        loop: Callable[..., EngineLoop] = EngineLoop,
        policy: CheckpointPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        held: int = HELD,
        kept: int = KEPT,
    ) -> None:
        """`replica`: its unique id. `loop` steps what it is handed, by `clock`, in monotonic seconds.

        `held`: unfinished segments that stay here, `kept`: finished ones.
        """
        self._loaded = loaded
        self._replica = replica
        self._clock = clock
        self._kept = kept
        self._finished: OrderedDict[SegmentKey, _Finished] = OrderedDict()
        batching = Batching()
        self._loop = loop(
            self._step,
            kind=loaded.session.family.batch_key,
            together=batching.choose,
            took=batching.took,
            capacity=held,
            clock=clock,
        )
        self._leases = LeaseKeeper(loaded.store, replica, lost=self._loop.interrupt)
        self._checkpoints = Checkpoints(loaded.store)
        self._policy = policy or CheckpointPolicy()
        self._previews = Previews(loaded, clock=clock)
        self._unsaved: OrderedDict[SegmentKey, float] = OrderedDict()
        """Compute seconds since the last checkpoint."""
        self._cancelled: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """Of jobs that were stopped lately, epoch and attempt: a slice of it may still be on its way here."""
        self._writing: dict[SegmentKey, asyncio.Task[None]] = {}
        """Checkpoints on their way to the store, at most one of each segment."""

    def start(self) -> None:
        """Start the engine loop."""
        self._loop.start()

    async def stop(self) -> None:
        """End the engine loop after its running step, finish the checkpoints, and let the leases go."""
        await asyncio.to_thread(self._loop.stop)
        await asyncio.gather(*self._writing.values())
        await self._leases.stop()

    @property
    def alive(self) -> bool:
        """Whether the engine loop runs."""
        return self._loop.alive

    async def run_slice(self, call: SliceCall, conditions: Conditions) -> SliceResult:
        """Run steps until the segment is done or the slice's time is over."""
        stale = SliceResult(0, done=False, replica=self._replica, stale=True)
        if call.epoch < self._leases.epoch:
            return stale
        key = _key(call)
        if key in self._finished:
            made = self._finished[key]
            return SliceResult(
                call.steps,
                done=True,
                replica=self._replica,
                latents=made.ref,
                from_step=call.steps,
                steps_reused=made.steps_reused,
            )
        state, restored = await self._state(call, conditions)
        if (call.epoch, call.attempt) <= self._cancelled.get(call.job, (0, 0)):
            return SliceResult(0, done=False, replica=self._replica, cancelled=True)
        from_step = state.step
        # While a checkpoint was read, a newer Director's slice may have come.
        if not self._leases.begin(call.job, call.attempt, call.epoch, segment=call.segment, step=state.step):
            return stale
        try:
            end = await asyncio.wrap_future(self._loop.submit(key, state, rank=call.rank, budget_s=call.budget_s))
        except StageAway:  # whoever has engines again may go on with the attempt
            self._leases.let_go(call.job)
            raise
        finally:
            self._leases.end(call.job, call.attempt, call.epoch, step=state.step)
        latents = None
        if not end.cancelled:
            self._checkpoint(call, end)
        if end.step >= state.steps and not end.cancelled:
            latents = await self._store(call, end)
            own = end.latents[end.state.beside + end.state.lead :]
            self._keep(key, _Finished(own, latents, step_cache.skipped(end.memory)))
            self._unsaved.pop(key, None)
            self._previews.forget(key)
        return SliceResult(
            end.step,
            done=latents is not None,
            replica=self._replica,
            latents=latents,
            cancelled=end.cancelled,
            stale=end.interrupted and latents is None,
            from_step=from_step,
            restored=restored,
            step_seconds=end.step_seconds,
            preview=self._previews.of(key),
            together=end.together,
            steps_reused=step_cache.skipped(end.memory),
        )

    async def _store(self, call: SliceCall, end: SliceEnd) -> LatentRef:
        """Put finished latents into the store. If that fails they stay here, and the next slice has only this to do."""
        try:
            kept = end.latents[end.state.beside :]
            return await put_latents(self._loaded.blobs(call.tenant), kept, lead=end.state.lead)
        except LongtakeError:
            self._loop.keep(_key(call), end.state)
            raise

    async def take(self, call: TakeCall) -> Array:
        """A finished segment's latents [T, C, h, w]; from the store when they are not here."""
        if call.last:
            self._leases.let_go(call.job)
        for made in self._finished.values():
            if made.ref == call.stored:
                return made.latents
        return await get_latents(self._loaded.blobs(call.tenant), call.stored)

    async def cancel(self, call: CancelCall) -> None:
        """Stop a job's slices before their next step and forget what is held for it.

        A Director that was replaced stops nothing: the slices are those of the newer one.
        """
        if call.epoch is not None and call.epoch < self._leases.epoch:
            _log.info("cancellation of a Director that was replaced", job=call.job, epoch=call.epoch)
            return
        self._cancelled[call.job] = call.epoch or 0, call.attempt
        self._cancelled.move_to_end(call.job)
        while len(self._cancelled) > COUNTED:
            self._cancelled.popitem(last=False)
        self._loop.cancel(call.job)
        self._leases.let_go(call.job)
        for key in [key for key in self._finished if key[0] == call.job]:
            del self._finished[key]

    async def _state(self, call: SliceCall, conditions: Conditions) -> tuple[Denoising, bool]:
        """The segment as it is held, else from its newest checkpoint, else from noise; and whether it was read."""
        held = self._loop.held(_key(call))
        if held is not None:
            return held, False
        fresh = self._loaded.family(call.model).start(
            conditions, seed=call.seed, segment=call.segment, steps=call.steps
        )
        fresh.step_cache = call.step_cache
        if call.resume:
            saved = await self._checkpoints.newest(self._work(call))
            # While it was read, another slice of the segment may have come.
            held = self._loop.held(_key(call))
            if held is not None:
                return held, False
            if saved is not None and saved.restore(fresh):
                return fresh, True
        return fresh, False

    def _checkpoint(self, call: SliceCall, end: SliceEnd) -> None:
        """Write one beside the work, if the work since the last one pays for it.

        Also of a finished segment: until it is committed, only the Director knows where its latents are.
        """
        key = _key(call)
        self._unsaved[key] = self._unsaved.get(key, 0.0) + end.step_seconds
        self._unsaved.move_to_end(key)
        while len(self._unsaved) > COUNTED:  # of segments that went elsewhere or ended
            self._unsaved.popitem(last=False)
        if key in self._writing or not self._policy.due(self._unsaved[key]):
            return
        self._unsaved[key] = 0.0
        writing = asyncio.create_task(self._write(self._work(call), key, end))
        self._writing[key] = writing
        writing.add_done_callback(lambda _: self._writing.pop(key))

    async def _write(self, work: CheckpointedWork, key: SegmentKey, end: SliceEnd) -> None:
        """The checkpoint, and a picture of it."""
        began = self._clock()
        try:
            await self._checkpoints.write(work, end.step, end.latents, end.state.times, end.memory)
        except LongtakeError as error:  # the work goes on; a later checkpoint may succeed
            _log.warning("checkpoint not written", job=work.job, reason=error.reason, message=error.message)
            return
        except Exception as error:  # noqa: BLE001  (the edge of its task: at the end the leases are to be let go)
            _log.error("checkpoint not written", job=work.job, message=str(error), exc_info=error)
            return
        spent = self._clock() - began
        self._policy.wrote(spent)
        self._loaded.metrics.observe(CHECKPOINT_SECONDS, spent)
        if end.step < end.state.steps:
            await self._previews.make(work.tenant, key, end)

    def _work(self, call: SliceCall) -> CheckpointedWork:
        engines = self._loaded.session.digest
        fingerprint = hashlib.sha256(f"{call.fingerprint}\0{engines}".encode()).hexdigest()
        return CheckpointedWork(call.tenant, call.job, call.segment, call.attempt, fingerprint)

    def _step(self, states: Sequence[Denoising]) -> None:
        began, reused = self._clock(), step_cache.skips(states[0])  # and so do all of one kind
        self._loaded.session.family.step(self._loaded, states)
        self._loaded.metrics.add(STEPS_DONE, len(states))
        if reused:
            self._loaded.metrics.add(STEPS_REUSED, len(states))
        else:
            self._loaded.metrics.observe(STEP_SECONDS, self._clock() - began)

    def _keep(self, key: SegmentKey, made: _Finished) -> None:
        self._finished[key] = made
        while len(self._finished) > self._kept:
            self._finished.popitem(last=False)


def _key(call: SliceCall) -> SegmentKey:
    return call.job, call.segment, call.fingerprint
