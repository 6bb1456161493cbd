"""Bugs to plant into the shipped code, to see that the simulation finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from serving.director.publish import Publisher
from serving.jobs.epoch import Epoch
from serving.jobs.lease import Lease, LeaseWatch, Verdict
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.segments.lineage import Segments
from serving.stages import checkpoint
from serving.store import keys
from serving.store.blobs import Blobs

Plant = Callable[[ExitStack], None]


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """With this bug; None: without any."""
    with ExitStack() as stack:
        if name is not None:
            BUGS[name](stack)
        yield


def _put(stack: ExitStack, where: object, name: str, what: object) -> None:
    stack.enter_context(mock.patch.object(where, name, what))


def _no_epoch_check(stack: ExitStack) -> None:
    """A Director never asks whether a newer one has started."""

    async def check(self: Epoch) -> None:
        return None

    _put(stack, Epoch, "check", check)


def _publishes_first(stack: ExitStack) -> None:
    """The manifest is written beside the record, and not before it."""
    commit = Segments.commit

    async def beside(self: Segments, manifest: Any) -> str:
        import asyncio

        task = asyncio.get_running_loop().create_task(commit(self, manifest))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        digest: str = manifest.digest()
        return digest

    _put(stack, Segments, "commit", beside)


def _ignores_conflict(stack: ExitStack) -> None:
    """A transition writes over what somebody else wrote meanwhile."""

    async def transition(self: Jobs, record: JobRecord, **changes: Any) -> JobRecord:
        key = keys.job(record.tenant, record.id)
        stored = await self._store.get(key)
        update = {**changes, "version": record.version + 1, "nonce": self._nonce()}
        changed = JobRecord.model_validate({**dict(record), **update})
        await self._store.swap(key, changed.encode(), stored.version)
        return changed

    _put(stack, Jobs, "transition", transition)


def _reads_no_lease(stack: ExitStack) -> None:
    """A Director that starts takes every attempt for dead."""

    async def look(self: LeaseWatch, job: str, attempt: int) -> tuple[Verdict, Lease | None]:
        return Verdict.NOBODY, None

    _put(stack, LeaseWatch, "look", look)


def _retires_first(stack: ExitStack) -> None:
    """The active/ key goes before the terminal swap."""
    finish = Publisher.finish

    async def finished(self: Publisher, record: JobRecord, state: JobState, *rest: Any) -> JobRecord:
        await self._jobs.retire(record)
        return await finish(self, record, state, *rest)

    _put(stack, Publisher, "finish", finished)


def _any_checkpoint(stack: ExitStack) -> None:
    """A checkpoint's step is believed to be one less than it was."""
    read = checkpoint._read

    def off_by_one(data: bytes, digest: str, work: checkpoint.CheckpointedWork) -> checkpoint.Checkpoint | None:
        found = read(data, digest, work)
        return checkpoint.Checkpoint(found.step - 1, found.latents, found.times) if found else None

    _put(stack, checkpoint, "_read", off_by_one)


def _leaves_blobs_old(stack: ExitStack) -> None:
    """Whoever finds a blob there takes it as it is, however old."""

    async def found(self: Blobs, key: str) -> bool:
        return True

    _put(stack, Blobs, "_renew", found)


BUGS: dict[str, Plant] = {
    "no-epoch-check": _no_epoch_check,
    "publishes-first": _publishes_first,
    "ignores-conflict": _ignores_conflict,
    "reads-no-lease": _reads_no_lease,
    "retires-first": _retires_first,
    "leaves-blobs-old": _leaves_blobs_old,
    "wrong-checkpoint": _any_checkpoint,
}
