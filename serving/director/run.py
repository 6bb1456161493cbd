"""One job through its stages: `JobRun.run` is the table of contents.

`director.py` starts it for a job that it claimed. While one segment is rendered and committed, the next is denoised
already: its history is known as soon as the latents are. Segments are committed in order, the last one together with
the job's end. Everything that must survive has a key in the store before the record names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from engines.families.base import Family, Subject
from serving.director import chain
from serving.director.events import Feed
from serving.director.publish import Publisher
from serving.director.queue import rank
from serving.director.stages import Ref, Stages
from serving.jobs.record import JobRecord, JobState, Phase
from serving.metrics import SEGMENTS_COMMITTED, Recorder
from serving.plan import PlannedSegment
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.segments.manifest import LatentRef, SegmentManifest
from serving.stages.contracts import (
    CancelCall,
    ConditionCall,
    ImageCall,
    IngestCall,
    InputsCall,
    InputsResult,
    PromptCall,
    RenderCall,
    SliceCall,
    TakeCall,
    TextCall,
)

LONGEST_SLICE_S = 0.5
"""Progress is told once per slice, so slices stay short even where settings allow longer ones."""


class JobRun:
    """One attempt at one job. `cancel` may be called at any time from the same event loop."""

    def __init__(
        self,
        record: JobRecord,
        *,
        family: Family,
        stages: Stages,
        segments: Segments,
        publisher: Publisher,
        feed: Feed,
        metrics: Recorder,
        slice_s: float,
    ) -> None:
        self.record = record
        self._family = family
        self._stages = stages
        self._segments = segments
        self._publisher = publisher
        self._feed = feed
        self._metrics = metrics
        self._slice_s = min(slice_s, LONGEST_SLICE_S)
        self._inputs = InputsResult()
        self._text: Ref | None = None
        self._denoiser: str | None = None
        self._counted = record.steps_done

    async def run(self) -> None:
        """Carry the job's plan out, from where its record stands. Raises what a stage raised, and `Superseded`."""
        parent = await self._parent()
        if self.record.request.ingests and parent is None:
            parent = await self._ingest()
        await self._read_inputs(parent)
        await self._understand(parent)
        if self.record.request.kind is Kind.IMAGE:
            await self._make_images()
        else:
            await self._make_segments(parent)

    async def cancel(self) -> None:
        """Tell the Denoiser; the caller stops the run itself."""
        if self._denoiser is not None:
            await self._stages.cancel(CancelCall(self.record.id, self._denoiser))

    # ── once per job ────────────────────────────────────────────────────────────────────────────────────────────

    async def _parent(self) -> SegmentManifest | None:
        head = self.record.head
        return await self._segments.get(head) if head else None

    async def _ingest(self) -> SegmentManifest:
        """The foreign video becomes a committed root segment."""
        source = self.record.request.ingests
        assert source is not None
        self._tell("ingesting")
        result = await self._stages.ingest(
            IngestCall(
                tenant=self.record.tenant,
                model=self.record.plan.model,
                blob=source.blob,
                canvas=chain.canvas_of(self.record),
                track=self.record.plan.track,
            )
        )
        manifest = chain.ingested(self.record, result)
        digest = await self._segments.commit(manifest)
        await self._write(
            segments=(digest,),
            phase=Phase.PROMPT,
            warnings=chain.merged(self.record.warnings, result.warnings),
        )
        self._metrics.add(SEGMENTS_COMMITTED, kind="ingested")
        return manifest

    async def _read_inputs(self, parent: SegmentManifest | None) -> None:
        """Encode the pictures; an extension without references of its own keeps its parent's."""
        request = self.record.request
        if request.first_frame or request.references:
            self._tell(Phase.CONDITIONING)
            self._inputs = await self._stages.read_inputs(
                InputsCall(
                    tenant=self.record.tenant,
                    model=self.record.plan.model,
                    model_digest=self.record.plan.model_digest,
                    canvas=chain.canvas_of(self.record),
                    first_frame=request.first_frame,
                    references=request.references,
                )
            )
        if parent is not None and not request.references:
            self._inputs = InputsResult(
                references=parent.references,
                effective_references=parent.effective_references,
                warnings=self._inputs.warnings,
            )

    async def _understand(self, parent: SegmentManifest | None) -> None:
        """The prompt becomes the caption that the model sees; what was understood is published before work starts."""
        self._tell(Phase.PROMPT)
        plan = self.record.plan
        written = await self._stages.write_prompt(
            PromptCall(
                model=plan.model,
                prompt=self.record.request.prompt,
                subject=self._subject(parent),
                seed=plan.seed,
                inherited=(parent.effective_prompt or None) if parent else None,
            )
        )
        self._text = self._stages.embed_text(
            TextCall(self.record.tenant, plan.model, plan.model_digest, written.effective_prompt)
        )
        await self._write(
            phase=Phase.DENOISING,
            effective_prompt=written.effective_prompt,
            effective_references=self._inputs.effective_references,
            warnings=chain.merged(self.record.warnings, self._inputs.warnings, written.warnings),
        )

    def _subject(self, parent: SegmentManifest | None) -> Subject:
        if self._inputs.references:
            return "reference"
        if self.record.request.first_frame or (parent is not None and parent.kind == "ingested"):
            return "frame"
        return "named"

    # ── per segment ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _make_segments(self, parent: SegmentManifest | None) -> None:
        """Denoise ahead, render and commit one segment behind."""
        history = chain.history_of(parent) if parent else None
        left = chain.remaining(self.record)
        async with _following() as behind:
            for planned in left:
                latents, taken = await self._denoise(planned, self._condition(history))
                parent = await behind.result() or parent
                behind.start(self._finish_segment(planned, parent, latents, taken, last=planned is left[-1]))
                history = chain.grown(history, latents, self._family)
            await behind.result()

    async def _make_images(self) -> None:
        """Every image is the first frame of a root segment of its own."""
        request, plan = self.record.request, self.record.plan
        for planned in plan.segments[len(self.record.images) :]:
            _, taken = await self._denoise(planned, self._condition(None))
            self._tell(Phase.RENDERING, planned.index)
            made = await self._stages.render_image(
                ImageCall(
                    tenant=self.record.tenant,
                    job=self.record.id,
                    model=plan.model,
                    longest_side=self._family.capabilities.image_resolutions[request.resolution],
                ),
                taken,
            )
            images = (*self.record.images, made.image)
            await self._commit(len(images) == len(plan.segments), images=images)

    def _condition(self, history: chain.History | None) -> Ref:
        assert self._text is not None
        return self._stages.condition(
            ConditionCall(
                tenant=self.record.tenant,
                model=self.record.plan.model,
                canvas=chain.canvas_of(self.record),
                first_frame=None if history else self._inputs.first_frame,
                references=self._inputs.references,
                anchor=history.anchor if history else None,
                tail=history.tail if history else None,
            ),
            self._text,
        )

    async def _denoise(self, planned: PlannedSegment, conditions: Ref) -> tuple[LatentRef, Ref]:
        """Slice after slice on the replica that holds the latents. The first slice is one step, to tell of it soon."""
        plan, done, replica = self.record.plan, 0, None
        before = (planned.index - plan.segments[0].index) * plan.steps
        budget = 0.0
        while True:
            call = SliceCall(
                tenant=self.record.tenant,
                job=self.record.id,
                attempt=self.record.attempt,
                model=plan.model,
                segment=planned.index,
                seed=plan.seed,
                steps=plan.steps,
                from_step=done,
                rank=rank(self.record),
                budget_s=budget,
                replica=replica,
            )
            result = await self._stages.run_slice(call, conditions)
            if result.cancelled:
                raise asyncio.CancelledError
            done, replica, budget = result.steps_done, result.replica, self._slice_s
            self._denoiser = replica
            self._counted = max(self._counted, before + done)
            self._tell(Phase.DENOISING, planned.index)
            if result.latents is not None:
                take = TakeCall(
                    self.record.tenant, self.record.id, self.record.attempt, planned.index, replica, result.latents
                )
                return result.latents, self._stages.take_latents(take)

    async def _finish_segment(
        self,
        planned: PlannedSegment,
        parent: SegmentManifest | None,
        latents: LatentRef,
        taken: Ref,
        *,
        last: bool,
    ) -> SegmentManifest:
        """Render, then commit: blobs (the stages did), manifest, record."""
        if last:
            self._tell(Phase.RENDERING, planned.index)
        rendered = await self._stages.render(
            RenderCall(
                tenant=self.record.tenant,
                job=self.record.id,
                model=self.record.plan.model,
                track=self.record.plan.track,
                start_frame=parent.total_frames if parent else 0,
                sequence_start=sum(len(part.fragment_sizes) for part in parent.parts) if parent else 0,
                lead=chain.history_of(parent).lead(self._family) if parent else None,
            ),
            taken,
        )
        manifest = chain.generated(
            self.record,
            self._family,
            parent=parent,
            inputs=self._inputs,
            latents=latents,
            rendered=rendered,
        )
        digest = await self._segments.commit(manifest)
        await self._commit(last, segments=(*self.record.segments, digest))
        self._metrics.add(SEGMENTS_COMMITTED, kind="generated")
        return manifest

    # ── records ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _commit(self, last: bool, **made: tuple[str, ...]) -> None:
        """Name what was made in the record; with the last of it the job ends."""
        changes = {"steps_done": self.record.steps_done + self.record.plan.steps, **made}
        if last:
            self.record = await self._publisher.finish(self.record, JobState.SUCCEEDED, changes)
        else:
            await self._write(**changes)

    async def _write(self, **changes: object) -> None:
        self.record = await self._publisher.write(self.record, **changes)

    def _tell(self, stage: str, segment: int = 0) -> None:
        """Live progress. Steps only grow, though a record that is written meanwhile counts committed ones alone."""
        self._feed.progress(self.record, stage, self._counted, segment)


class _Behind:
    """The one piece of work that follows behind; its failure shows at the next `result`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[SegmentManifest] | None = None

    def start(self, work: Coroutine[object, object, SegmentManifest]) -> None:
        self._task = asyncio.create_task(work)

    async def result(self) -> SegmentManifest | None:
        """Wait for it; None if nothing was started."""
        return await self._task if self._task else None

    async def stop(self) -> None:
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


@asynccontextmanager
async def _following() -> AsyncIterator[_Behind]:
    behind = _Behind()
    try:
        yield behind
    finally:
        await behind.stop()
