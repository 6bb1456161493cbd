"""Checkpoints: a segment's denoising state, so that a killed attempt goes on where it was.

A checkpoint is safetensors, written once: the latents, the step, the time grid, what the sampler remembers of earlier
steps, and the fingerprint of the work. Noise is drawn from (seed, segment): nothing random is left to keep. Its key has
the bytes' digest in it, so a torn or foreign file is refused; so is one whose fingerprint is another's. The two newest
are kept, beside later ones that were refused.

`denoise.py` writes them beside the compute loop, as often as `CheckpointPolicy` finds affordable, and reads the newest
good one when a segment comes to a replica that does not hold it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engines.families.base import Array, Denoising
from serving.errors import Conflict, NotFound
from serving.logs import logger
from serving.store import keys
from serving.store.base import Store

SHARE = 0.02
"""Checkpoints may cost so much of the compute time."""
KEPT = 2
_REMEMBERED = 256
"""Refused ones that a replica knows of."""
_MEMORY = "memory."
"""Before the names of what the sampler remembers."""
_FIRST_COST_S = 0.01
MOST_LEARNT_S = 5.0
"""A write that took longer met an outage, which says nothing of the next one."""

_log = logger("checkpoint")


@dataclass(frozen=True)
class CheckpointedWork:
    """What a checkpoint is of."""

    tenant: str
    job: str
    segment: int
    attempt: int
    fingerprint: str
    """Of all that decides the latents: request, model and engine digests, seed, steps, history."""


@dataclass(frozen=True)
class Checkpoint:
    """One that was read."""

    step: int
    latents: Array
    times: Array
    memory: Mapping[str, Array] = field(default_factory=dict)
    """`Denoising.memory`."""

    def restore(self, state: Denoising) -> bool:
        """Put it into a fresh state; False when it does not fit or is no progress."""
        same = self.latents.shape == state.latents.shape and np.array_equal(self.times, state.times)
        if not same or not state.step < self.step <= state.steps:
            return False
        state.latents = self.latents
        state.memory = self.memory
        state.step = self.step
        return True


class CheckpointPolicy:
    """When the next checkpoint is due: never more than `SHARE` of the work. Pure; times are handed in.

    The cost is what writing took the last times, so a slow store is written to less often.
    """

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._cost_s = _FIRST_COST_S

    def due(self, computed_s: float) -> bool:
        """Whether so much compute time since the last checkpoint pays for one."""
        return computed_s * self._share >= self._cost_s

    def wrote(self, seconds: float) -> None:
        """A checkpoint took so long."""
        seconds = min(seconds, MOST_LEARNT_S)
        self._cost_s = max(seconds, 0.7 * self._cost_s + 0.3 * seconds)


class Checkpoints:
    """Of one replica's store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refused: deque[str] = deque(maxlen=_REMEMBERED)
        """Keys. They may be of later steps than what is written after them, and are none to go on from."""

    async def write(
        self,
        work: CheckpointedWork,
        step: int,
        latents: Array,
        times: Array,
        memory: Mapping[str, Array] | None = None,
    ) -> str:
        """Keep the state after `step` steps; others older than the newest `KEPT` go. Returns the key.

        What was refused is not counted, and goes when it is old too: it may have been read wrong, and be whole.
        """
        data = save(
            {
                "latents": np.ascontiguousarray(latents, dtype=np.float32),
                "times": np.ascontiguousarray(times, dtype=np.float32),
                "step": np.array([step], np.int64),
                "fingerprint": np.frombuffer(work.fingerprint.encode(), np.uint8),
                **{
                    f"{_MEMORY}{name}": np.ascontiguousarray(value, dtype=np.float32)
                    for name, value in (memory or {}).items()
                },
            }
        )
        digest = hashlib.sha256(data).hexdigest()
        key = keys.checkpoint(_prefix(work), step, work.attempt, digest)
        if not await self._store.put_if_absent(key, data) and key in self._refused:
            await self._mend(key, data)
        newer = 0
        for found in await self._keys(work):
            if newer >= KEPT and found != key:
                await self._store.delete(found)
            newer += found not in self._refused
        return key

    async def newest(self, work: CheckpointedWork) -> Checkpoint | None:
        """The furthest one that is whole and of this very work; what is not is left out and said in the log."""
        for key in await self._keys(work):
            try:
                data = (await self._store.get(key)).data
            except NotFound:  # another attempt has replaced it
                continue
            found = _read(data, keys.digest_of_checkpoint(key), work)
            if found is not None:
                return found
            _log.warning("checkpoint refused", key=key)
            if key not in self._refused:
                self._refused.append(key)
        return None

    async def _mend(self, key: str, data: bytes) -> None:
        """One that was refused lies where this one belongs: other bytes than these are overwritten."""
        with suppress(Conflict, NotFound):  # then somebody else has mended it, or it is gone
            there = await self._store.get(key)
            if there.data != data:
                await self._store.swap(key, data, there.version)
        with suppress(ValueError):  # forgotten meanwhile
            self._refused.remove(key)

    async def _keys(self, work: CheckpointedWork) -> list[str]:
        return sorted([entry.key async for entry in self._store.list(_prefix(work))], reverse=True)


def _prefix(work: CheckpointedWork) -> str:
    return keys.checkpoints_of_work(work.tenant, work.job, work.segment, work.fingerprint)


def _read(data: bytes, digest: str, work: CheckpointedWork) -> Checkpoint | None:
    if hashlib.sha256(data).hexdigest() != digest:
        return None
    try:
        tensors = load(data)
        if tensors["fingerprint"].tobytes().decode() != work.fingerprint:
            return None
        memory = {name.removeprefix(_MEMORY): value for name, value in tensors.items() if name.startswith(_MEMORY)}
        return Checkpoint(int(tensors["step"][0]), tensors["latents"], tensors["times"], memory)
    except (SafetensorError, KeyError, ValueError):  # no checkpoint of ours
        return None
