"""In the place of the Director and the stages: finishes queued jobs with real segments of coloured frames.

It writes what they would write, through the same repositories and the same encoder, so that everything that the front
door serves is real. A prompt `fail` fails, `hang` stays half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engines.families.capabilities import Canvas, Capabilities, Range
from engines.families.history import Before, HistoryPlan, Reference, Source, anchored
from serving.errors import Conflict, Corrupt, NotFound
from serving.jobs.record import JobError, JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.media.encode import SegmentEncoder
from serving.plan import PlannedSegment
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.segments.manifest import LatentRef, ManifestCanvas, MediaPart, SegmentManifest, ShownSource
from serving.store.base import Store
from serving.store.blobs import Blobs

MODEL = Capabilities(
    model="studio-1", family="studio", description="Coloured frames for tests.",
    canvases=(Canvas("16:9", 64, 112), Canvas("1:1", 64, 64)),
    resolutions={"480p": 1, "720p": 2}, image_resolutions={"1k": 448, "2k": 896},
    fps=16, latent_channels=16, latent_stride=8, frames_per_latent=4, first_latent_frames=1,
    root_latents=5, segment_latents=4,
    seconds=Range(1, 15, 8), extension_seconds=Range(1, 10, 6), steps=Range(1, 8, 4),
    reference_size=(32, 32), references_max=4, max_prompt_chars=2_000,
)  # fmt: skip
COLOURS = ((220, 40, 40), (40, 200, 60), (50, 80, 230), (230, 200, 40), (190, 60, 200), (40, 200, 210))
"""One per segment, by its place in the video."""


class FakeDirector:
    """Finishes jobs while the context is open."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._jobs = Jobs(store)
        self.open = True
        """While it is not, jobs wait."""

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Look for jobs in the background."""
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _work(self) -> None:
        while True:
            for entry in [entry async for entry in self._jobs.active()] if self.open else ():
                with contextlib.suppress(NotFound, Conflict, Corrupt):
                    record = await self._jobs.get(entry.tenant, entry.id)
                    if record.state is JobState.QUEUED:
                        await self._make(record)
            await asyncio.sleep(0.02)

    async def _make(self, record: JobRecord) -> None:
        record = await self._jobs.transition(record, state=JobState.RUNNING, attempt=1)
        if record.request.prompt == "hang":
            await self._jobs.transition(record, steps_done=record.plan.total_steps // 2)
            return
        if record.request.prompt == "fail":
            error = JobError(code="worker_fire", message="the worker burned down")
            record = await self._jobs.transition(record, state=JobState.FAILED, error=error)
        elif record.request.kind is Kind.IMAGE:
            images = [await self._image(record, segment) for segment in record.plan.segments]
            record = await self._jobs.transition(record, state=JobState.SUCCEEDED, images=tuple(images))
        else:
            for segment in record.plan.segments:
                digest = await self._segment(record, segment)
                record = await self._jobs.transition(record, segments=(*record.segments, digest))
            record = await self._jobs.transition(record, state=JobState.SUCCEEDED, steps_done=record.plan.total_steps)
        await self._jobs.retire(record)

    async def _image(self, record: JobRecord, segment: PlannedSegment) -> str:
        return await Blobs(self.store, record.tenant).put(png(frames_of(record, segment)[0]))

    async def _segment(self, record: JobRecord, segment: PlannedSegment) -> str:
        segments, blobs = Segments(self.store, record.tenant), Blobs(self.store, record.tenant)
        parent = await segments.get(record.head) if record.head else None
        encoder = SegmentEncoder(
            record.plan.track,
            start_frame=parent.total_frames if parent else 0,
            sequence_start=parent.fragments if parent else 0,
        )
        frames = frames_of(record, segment)
        fragments = encoder.push(frames[:1]) if segment.root else []
        for start in range(1 if segment.root else 0, len(frames), 4):
            fragments += encoder.push(frames[start : start + 4])
        fragments += encoder.finish()
        data = b"".join(fragment.data for fragment in fragments)
        part = MediaPart(
            blob=await blobs.put(data), size=len(data),
            fragment_sizes=tuple(len(fragment.data) for fragment in fragments),
            fragment_frames=tuple(fragment.frames for fragment in fragments),
        )  # fmt: skip
        latents = LatentRef(blob=await blobs.put(b"latents of nothing"), start=0, count=segment.latents)
        history = shown_after(MODEL.latents_of(parent.total_frames) if parent else 0, len(record.request.references))
        left_out = MODEL.latents_of(parent.total_frames) - history.latents if parent else 0
        plan = record.plan
        manifest = SegmentManifest(
            kind="generated", tenant=record.tenant, video=record.id, parent=record.head,
            depth=segment.index, model=plan.model, model_digest=plan.model_digest, prompt=record.request.prompt,
            effective_prompt=record.request.prompt, seed=plan.seed, steps=plan.steps,
            canvas=ManifestCanvas(aspect_ratio=plan.aspect_ratio, height=plan.height, width=plan.width),
            track=plan.track, frames=segment.frames, start_frame=parent.total_frames if parent else 0,
            latents=latents, anchor=latents, tail=latents, init=await blobs.put(encoder.init), parts=(part,),
            thumbnail=await blobs.put(png(frames[-1])), trail=parent.next_trail() if parent else None,
            history=tuple(ShownSource(**vars(source)) for source in history.sources), history_left_out=left_out,
            effective_references=("a cat",) * len(record.request.references),
        )  # fmt: skip
        return await segments.commit(manifest)


def shown_after(latents: int, references: int) -> HistoryPlan:
    """What a segment after so many latents is shown: a memory of their middle, the first one and the two newest."""
    before = Before(MODEL.canvases[0], latents, references=(Reference(),) * references)
    plan = anchored(before, newest=2, latent_tokens=7, reference_tokens=1)
    middle = Source("memory", (latents // 2,), 3, "column 5 of 32")
    return replace(plan, sources=(middle, *plan.sources)) if latents else plan


def frames_of(record: JobRecord, segment: PlannedSegment) -> NDArray[np.uint8]:
    """A square that moves over a plain ground, whose colour tells the segment."""
    frames = np.zeros((segment.frames, record.plan.height, record.plan.width, 3), np.uint8)
    frames[:] = COLOURS[segment.index % len(COLOURS)]
    for number, frame in enumerate(frames):
        frame[8:24, 8 + number : 24 + number] = 255
    return frames


def png(frame: NDArray[np.uint8]) -> bytes:
    """A frame as a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()
