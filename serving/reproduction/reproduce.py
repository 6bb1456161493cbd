"""Make a finished video again, and compare every digest with what is stored.

    1. the job's record, reset to QUEUED, goes into a store in memory that lies over the real one
    2. a Director and the stages, in this process and on engines that are here, run it: the very code that made it
    3. manifest by manifest, what came out is compared with what is stored: digests here, arrays in `bands.py`

The stored results, caches, checkpoints and leases are hidden, so that everything is computed anew from the caption and
the pictures that the user gave; only the video that is extended is read. Nothing is written to the real store.
`judge.py` decides which of the two it is to be.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engines.session import Session
from serving.clock import now_ms
from serving.director.director import Director
from serving.director.served import Served
from serving.errors import FailedPrecondition
from serving.jobs.epoch import take_epoch
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import Unrecorded
from serving.reproduction.overlay import Overlay
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.stages.in_process import InProcessStages
from serving.stages.loaded import Loaded
from serving.store import keys
from serving.store.base import Store

OTHER_ENGINES = "OTHER_ENGINES"
"""The reason of a refusal: a video's engines are not those that are here."""
_LOOK_EVERY_S = 0.05
_SLICE_S = 5.0


@dataclass(frozen=True)
class Compared:
    """One digest of the video."""

    segment: int
    """Place in the whole video; of an image job, the image's number."""
    what: str
    """latents, media, header, thumbnail, manifest or image."""
    stored: str
    made: str

    @property
    def equal(self) -> bool:
        """Whether it was reproduced."""
        return self.stored == self.made

    @property
    def good(self) -> bool:
        """The same: of digests, nothing else will do."""
        return self.equal


@dataclass(frozen=True)
class Remade:
    """A video, as it is stored and as it was made again."""

    store: Store
    overlay: Overlay
    """Where what was made lies."""
    stored: JobRecord
    made: JobRecord


async def reproduce(
    store: Store, tenant: str, job: str, session: Session, *, on_progress: Callable[[JobRecord], None] = lambda _: None
) -> list[Compared]:
    """All digests of a video, in the order in which they came to be. `on_progress` hears of the record as it grows.

    Raises `NotFound`, and `FailedPrecondition` for a video that is not finished, was made by other engines, or cannot
    be made again (its inputs are gone).
    """
    stored = await finished(store, tenant, job)
    if stored.plan.model_digest != session.digest:
        raise FailedPrecondition(
            f"{job} was made by the engines {stored.plan.model_digest[:12]} of {stored.plan.model}, and those here are "
            f"{session.digest[:12]}: only the same ones give the same bytes; `longtake engines ls --all` shows what "
            "there is",
            reason=OTHER_ENGINES,
        )
    return await compared(await remade(store, stored, session, on_progress))


async def remade(store: Store, stored: JobRecord, session: Session, on_progress: Callable[[JobRecord], None]) -> Remade:
    """A finished video made again by these engines, whichever made it. Raises `FailedPrecondition` where that fails."""
    overlay = Overlay(store, lambda key: _hidden(key, stored))
    made = await _made(overlay, stored, session, on_progress)
    if made.state is not JobState.SUCCEEDED:
        reason = f"{made.error.code}: {made.error.message}" if made.error else made.state.value
        raise FailedPrecondition(f"{stored.id} could not be made again: {reason}")
    return Remade(store, overlay, stored, made)


async def compared(again: Remade) -> list[Compared]:
    """All digests of a video, in the order in which they came to be."""
    segments = await _segments(again.store, again.overlay, again.stored, again.made)
    return [*segments, *_images(again.stored, again.made)]


async def finished(store: Store, tenant: str, job: str) -> JobRecord:
    """The record of a video that can be made again. Raises `NotFound`, and `FailedPrecondition` for another one."""
    stored = await Jobs(store).get(tenant, job)
    if stored.state is not JobState.SUCCEEDED:
        raise FailedPrecondition(f"{job} is {stored.state.value}: only a finished video can be made again")
    return stored


def _hidden(key: str, record: JobRecord) -> bool:
    """What must be computed again, and what belongs to running jobs."""
    if keys.tenant_of(key) is None:
        return True
    return keys.kind_of(key) in ("jobs", "by-time", "cache", "checkpoints") or keys.name_of(key) in record.segments


async def _made(
    overlay: Overlay, stored: JobRecord, session: Session, on_progress: Callable[[JobRecord], None]
) -> JobRecord:
    jobs, loaded = Jobs(overlay), Loaded(session, overlay, Unrecorded())
    await jobs.create(_reset(stored))
    stages = InProcessStages(loaded)
    stages.start()
    director = Director(
        store=overlay,
        jobs=jobs,
        epoch=await take_epoch(overlay),
        models={stored.plan.model: Served(stages, session.family, slots=1)},
        slice_s=_SLICE_S,
        metrics=Unrecorded(),
        now_ms=now_ms,
        incident=lambda: "see the log above",
    )
    life = asyncio.create_task(director.run())
    try:
        while not (record := await jobs.get(stored.tenant, stored.id)).state.terminal:
            on_progress(record)
            await asyncio.wait({life}, timeout=_LOOK_EVERY_S)
            if life.done():
                life.result()
        on_progress(record)
        return record
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await stages.stop()


def _reset(record: JobRecord) -> JobRecord:
    """The job as it was when it was asked for, and its caption: a language model may word it otherwise now."""
    kept = ("id", "tenant", "request", "plan", "priority", "created_ms", "effective_prompt", "captions")
    return JobRecord.model_validate({name: getattr(record, name) for name in kept})


async def _segments(store: Store, overlay: Store, stored: JobRecord, made: JobRecord) -> list[Compared]:
    found: list[Compared] = []
    for before, after in zip(stored.segments, made.segments, strict=True):
        old = await Segments(store, stored.tenant).get(before)
        new = await Segments(overlay, stored.tenant).get(after)
        found += _compared(old, new)
    return found


def _compared(old: SegmentManifest, new: SegmentManifest) -> Iterator[Compared]:
    pairs = {
        "latents": (old.latents.blob, new.latents.blob),
        "header": (old.init, new.init),
        "media": (old.parts[-1].blob, new.parts[-1].blob),
        "thumbnail": (old.thumbnail, new.thumbnail),
        "manifest": (_said(old), _said(new)),
    }
    return (Compared(old.depth, what, *pair) for what, pair in pairs.items())


def _said(manifest: SegmentManifest) -> str:
    """Digest of what a manifest says of its own segment: what it tells of those before differs between versions."""
    own = manifest.model_dump_json(exclude={"parent", "parts", "earlier", "trail", "history"})
    return hashlib.sha256(own.encode()).hexdigest()


def _images(stored: JobRecord, made: JobRecord) -> Iterator[Compared]:
    for number, (before, after) in enumerate(zip(stored.images, made.images, strict=True)):
        yield Compared(number, "image", before, after)
