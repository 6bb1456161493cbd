"""Bugs in the stages, and in what they read."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

from serving.stages import checkpoint
from serving.stages.checkpoint import CheckpointPolicy
from serving.stages.lease_keeper import LeaseKeeper
from serving.store.blobs import Blobs
from tests.sim.plants.plant import Plant, put


def wrong_checkpoint(stack: ExitStack) -> None:
    """A checkpoint's step is believed to be one less than it was."""
    read = checkpoint._read

    def off_by_one(data: bytes, digest: str, work: checkpoint.CheckpointedWork) -> checkpoint.Checkpoint | None:
        found = read(data, digest, work)
        return checkpoint.Checkpoint(found.step - 1, found.latents, found.times) if found else None

    put(stack, checkpoint, "_read", off_by_one)


def torn_checkpoint(stack: ExitStack) -> None:
    """A checkpoint is used whether or not its bytes match its name."""
    read = checkpoint._read

    def unchecked(data: bytes, digest: str, work: checkpoint.CheckpointedWork) -> checkpoint.Checkpoint | None:
        return read(data, hashlib.sha256(data).hexdigest(), work)

    put(stack, checkpoint, "_read", unchecked)


def never_checkpoints(stack: ExitStack) -> None:
    """No checkpoint is ever written."""
    put(stack, CheckpointPolicy, "due", lambda self, computed_s: False)


def one_checkpoint(stack: ExitStack) -> None:
    """Only the newest checkpoint is kept: a torn one costs the segment."""
    put(stack, checkpoint, "KEPT", 1)


def refuses_checkpoints(stack: ExitStack) -> None:
    """No checkpoint is taken for one of this work."""
    put(stack, checkpoint, "_read", lambda data, digest, work: None)


def slices_of_any_epoch(stack: ExitStack) -> None:
    """A Denoiser takes the slices of a Director that was replaced."""
    put(stack, LeaseKeeper, "epoch", property(lambda self: 0))


def unverified(stack: ExitStack) -> None:
    """A blob is used whether or not its bytes match its name."""

    async def get(self: Blobs, digest: str) -> bytes:
        return (await self._store.get(self._key(digest))).data

    put(stack, Blobs, "get", get)


BUGS: dict[str, Plant] = {
    "wrong-checkpoint": wrong_checkpoint,
    "torn-checkpoint": torn_checkpoint,
    "never-checkpoints": never_checkpoints,
    "one-checkpoint": one_checkpoint,
    "refuses-checkpoints": refuses_checkpoints,
    "slices-of-any-epoch": slices_of_any_epoch,
    "unverified": unverified,
}
