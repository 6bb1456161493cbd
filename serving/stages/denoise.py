"""Denoiser: a segment's latents from noise, in slices, on one engine loop per replica.

The Director sends a segment's slices to the replica that holds its latents. A slice that comes elsewhere starts the
segment again: noise is drawn from (seed, segment) alone, so the result is the same. Finished latents go to the store at
once and stay here until they are taken, a bounded number of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from engines.families.base import Array, Conditions, Denoising
from serving.metrics import STEP_SECONDS, STEPS_DONE
from serving.segments.manifest import LatentRef
from serving.stages.contracts import CancelCall, SliceCall, SliceResult, TakeCall
from serving.stages.engine_loop import EngineLoop, Key
from serving.stages.latents import get_latents, put_latents
from serving.stages.loaded import Loaded

KEPT = 32
"""Finished segments whose latents wait here to be taken; they are in the store as well."""


class Denoiser:
    """See the module. `start` it before the first slice, `stop` it at the end."""

    def __init__(self, loaded: Loaded, replica: str) -> None:
        self._loaded = loaded
        self._replica = replica
        self._finished: OrderedDict[Key, tuple[Array, LatentRef]] = OrderedDict()
        self._loop = EngineLoop(self._step)

    def start(self) -> None:
        """Start the engine loop."""
        self._loop.start()

    def stop(self) -> None:
        """End the engine loop after its running step."""
        self._loop.stop()

    @property
    def alive(self) -> bool:
        """Whether the engine loop runs."""
        return self._loop.alive

    async def run_slice(self, call: SliceCall, conditions: Conditions) -> SliceResult:
        """Run steps until the segment is done or the slice's time is over."""
        key = (call.job, call.attempt, call.segment)
        if key in self._finished:
            return SliceResult(call.steps, done=True, replica=self._replica, latents=self._finished[key][1])
        state = self._loop.held(key) or self._loaded.family(call.model).start(
            conditions, seed=call.seed, segment=call.segment, steps=call.steps
        )
        turned = await asyncio.wrap_future(self._loop.submit(key, state, rank=call.rank, budget_s=call.budget_s))
        latents = None
        if state.done and not turned.cancelled:
            latents = await put_latents(self._loaded.blobs(call.tenant), state.latents)
            self._keep(key, state.latents, latents)
        return SliceResult(
            state.step,
            done=latents is not None,
            replica=self._replica,
            latents=latents,
            cancelled=turned.cancelled,
            step_seconds=turned.step_seconds,
        )

    async def take(self, call: TakeCall) -> Array:
        """A finished segment's latents [T, 16, h, w]; from the store when they are not here."""
        held = self._finished.pop((call.job, call.attempt, call.segment), None)
        if held is not None:
            return held[0]
        return await get_latents(self._loaded.blobs(call.tenant), call.stored)

    async def cancel(self, call: CancelCall) -> None:
        """Stop a job's slices before their next step and forget what is held for it."""
        self._loop.cancel(call.job)
        for key in [key for key in self._finished if key[0] == call.job]:
            del self._finished[key]

    def _step(self, state: Denoising) -> None:
        began = time.monotonic()
        self._loaded.session.family.step(self._loaded, state)
        self._loaded.metrics.add(STEPS_DONE)
        self._loaded.metrics.observe(STEP_SECONDS, time.monotonic() - began)

    def _keep(self, key: Key, latents: Array, ref: LatentRef) -> None:
        self._finished[key] = (latents, ref)
        while len(self._finished) > KEPT:
            self._finished.popitem(last=False)
