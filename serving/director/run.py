"""One attempt at one job: prompt → conditions → for each segment denoise, render, commit.

The Director starts it (`director.py`), `attempt.py` says what becomes of the job when it raises. It continues from what
the record says is committed, so the same code runs a job from the start and after any loss. Segment n is rendered and
committed behind while segment n+1 is denoised. Whatever a replica that goes away was doing is given to another
(`survive.py`, `denoising.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from engines.families.base import Family
from serving.director import chain
from serving.director.attempt import Attempt
from serving.director.behind import Behind
from serving.director.context import RunContext
from serving.director.denoising import Denoised, SegmentDenoising, Went
from serving.director.prepare import Preparation
from serving.estimates import DENOISER, RENDERER
from serving.jobs.history import EventKind, Span
from serving.jobs.record import JobRecord, JobState, Phase
from serving.metrics import SEGMENTS_COMMITTED, STEPS_RECOMPUTED
from serving.plan import PlannedSegment
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.stages.contracts import (
    CancelCall,
    ConditionCall,
    ImageCall,
    ImageResult,
    InputsResult,
    RenderCall,
    SliceResult,
    StageLost,
    TakeCall,
    TextCall,
)
from serving.stages.interface import Ref


class JobRun:
    """One attempt at one job. `cancel` may be called at any time from the same event loop."""

    def __init__(
        self,
        record: JobRecord,
        *,
        family: Family,
        segments: Segments,
        context: RunContext,
        adopted: chain.Reached | None = None,
    ) -> None:
        """`adopted`: an earlier Director's attempt that lives on at this replica."""
        self.attempt = Attempt(record, context)
        self._family = family
        self._context = context
        self._stages = context.stages
        self._segments = segments
        self._inputs = InputsResult()
        self._text: Ref | None = None
        self._denoiser = adopted.replica if adopted else None
        self._reached = adopted or chain.reached(record)
        self._counted = record.steps_done

    async def run(self) -> None:
        """Carry the job's plan out, from where its record stands. Raises what a stage raised, and `Superseded`."""
        parent, self._inputs = await Preparation(self.attempt, self._family, self._context, self._segments).run()
        if self._record.request.kind is Kind.IMAGE:
            await self._make_images()
        else:
            await self._make_segments(parent)

    async def cancel(self) -> None:
        """Tell the Denoiser; the caller stops the run itself."""
        if self._denoiser is not None:
            await self._stages.cancel(CancelCall(self._record.id, self._denoiser))

    # ── per segment ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _make_segments(self, parent: SegmentManifest | None) -> None:
        """Denoise ahead, render and commit one segment behind."""
        history = chain.history_of(parent) if parent else None
        left = chain.remaining(self._record)
        async with Behind[SegmentManifest]() as behind:
            for planned in left:
                made = await self._denoise(planned, history)
                parent = await behind.result() or parent
                behind.start(self._finish_segment(planned, parent, made, last=planned is left[-1]))
                history = chain.grown(history, made.latents, self._family)
            await behind.result()

    async def _make_images(self) -> None:
        """Every image is the first frame of a root segment of its own."""
        request, plan = self._record.request, self._record.plan
        for planned in plan.segments[len(self._record.images) :]:
            made = await self._denoise(planned, None)
            self._tell(Phase.RENDERING, planned.index)
            began = self._context.now_ms()
            images = (*self._record.images, "")
            last = len(images) == len(plan.segments)
            call = ImageCall(
                tenant=self._record.tenant,
                job=self._record.id,
                model=plan.model,
                longest_side=self._family.capabilities.image_resolutions[request.resolution],
            )
            taken = self._taking(planned, made, last=last)
            drawn = await self.attempt.surviving("renderer", partial(self._draw, call, taken))
            spans = (made.span, self._span("rendering", began))
            await self._commit(planned, spans, last, images=(*images[:-1], drawn.image))

    async def _draw(self, call: ImageCall, taken: Callable[[], Ref]) -> ImageResult:
        return await self._stages.render_image(call, taken())

    async def _denoise(self, planned: PlannedSegment, history: chain.History | None) -> Denoised:
        """The segment's latents, on whichever replicas live."""
        call = ConditionCall(
            tenant=self._record.tenant,
            model=self._record.plan.model,
            canvas=chain.canvas_of(self._record),
            first_frame=None if history else self._inputs.first_frame,
            references=self._inputs.references,
            anchor=history.anchor if history else None,
            tail=history.tail if history else None,
        )
        reached = self._reached if self._reached and self._reached.segment == planned.index else None
        work = SegmentDenoising(
            self._context,
            planned,
            record=lambda: self._record,
            fingerprint=self._fingerprint(call, planned),
            reached=reached.step if reached else 0,
            # A new segment may begin on any replica: that is how a long job finds those that were started since.
            replica=self._denoiser if reached else None,
        )
        before = (planned.index - self._record.plan.segments[0].index) * self._record.plan.steps

        def told(result: SliceResult) -> None:
            self._denoiser = result.replica
            self._counted = max(self._counted, before + result.steps_done)
            self._tell(Phase.DENOISING, planned.index)
            steps = result.steps_done - result.from_step
            if steps > 0:
                self._context.measured(DENOISER, self._record, planned, steps, result.step_seconds)

        async def lost(gone: StageLost, step: int, replica: str) -> None:
            self._text = None
            await self.attempt.lost("denoiser", gone, segment=planned.index, step=step, replica=replica)

        return await work.run(lambda: self._condition(call), told=told, went=self._went(planned), lost=lost)

    def _went(self, planned: PlannedSegment) -> Callable[[Went], None]:
        def went(how: Went) -> None:
            self._context.metrics.add(STEPS_RECOMPUTED, how.recomputed)
            self.attempt.note(
                EventKind.RESUMED,
                segment=planned.index,
                step=how.from_step,
                recomputed=how.recomputed,
                replica=how.replica,
                text="from a checkpoint" if how.restored else "from what the replica held" if how.from_step else "",
            )

        return went

    def _condition(self, call: ConditionCall) -> Ref:
        """All that a segment is conditioned on. The caption is embedded once, and again when its holder may be gone."""
        if self._text is None:
            plan = self._record.plan
            caption = TextCall(self._record.tenant, plan.model, plan.model_digest, self._record.effective_prompt)
            self._text = self._stages.embed_text(caption)
        return self._stages.condition(call, self._text)

    def _fingerprint(self, call: ConditionCall, planned: PlannedSegment) -> str:
        record = self._record
        plan = record.plan
        decides = (call, planned, record.effective_prompt, plan.model_digest, plan.seed, plan.steps)
        return hashlib.sha256(repr(decides).encode()).hexdigest()

    def _taking(self, planned: PlannedSegment, made: Denoised, *, last: bool) -> Callable[[], Ref]:
        """Hands the latents over, as often as it takes."""
        call = TakeCall(
            self._record.tenant, self._record.id, self._record.attempt, planned.index, made.replica, made.latents, last
        )
        return lambda: self._stages.take_latents(call)

    async def _finish_segment(
        self, planned: PlannedSegment, parent: SegmentManifest | None, made: Denoised, *, last: bool
    ) -> SegmentManifest:
        """Render, then commit: blobs (the stages did), manifest, record."""
        if last:
            self._tell(Phase.RENDERING, planned.index)
        began = self._context.now_ms()
        call = RenderCall(
            tenant=self._record.tenant,
            job=self._record.id,
            model=self._record.plan.model,
            track=self._record.plan.track,
            start_frame=parent.total_frames if parent else 0,
            sequence_start=sum(len(part.fragment_sizes) for part in parent.parts) if parent else 0,
            lead=chain.history_of(parent).lead(self._family) if parent else None,
        )
        taken = self._taking(planned, made, last=last)
        rendered = await self.attempt.surviving("renderer", lambda: self._stages.render(call, taken()))
        rendering = self._span("rendering", began)
        seconds = sum(rendered.seconds.values())
        if seconds:
            self._context.measured(RENDERER, self._record, planned, 1, seconds)
        manifest = chain.generated(
            self._record,
            self._family,
            parent=parent,
            inputs=self._inputs,
            latents=made.latents,
            rendered=rendered,
        )
        began = self._context.now_ms()
        digest = await self._segments.commit(manifest)
        spans = (made.span, rendering, self._span("committing", began))
        await self._commit(planned, spans, last, segments=(*self._record.segments, digest))
        return manifest

    # ── records ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _commit(
        self, planned: PlannedSegment, spans: tuple[Span, ...], last: bool, **made: tuple[str, ...]
    ) -> None:
        """Name what was made in the record; with the last of it the job ends."""
        self.attempt.note(EventKind.COMMITTED, segment=planned.index, spans=spans)
        changes = {"steps_done": self._record.steps_done + self._record.plan.steps, "crashes": 0, **made}
        if last:
            await self.attempt.finish(JobState.SUCCEEDED, **changes)
        else:
            await self.attempt.write(**changes)
        self._context.metrics.add(SEGMENTS_COMMITTED, kind="generated")

    @property
    def _record(self) -> JobRecord:
        return self.attempt.record

    def _span(self, stage: str, began_ms: int) -> Span:
        return Span(stage=stage, start_ms=began_ms, end_ms=self._context.now_ms())

    def _tell(self, stage: str, segment: int = 0) -> None:
        """Live progress. Steps only grow, though a record that is written meanwhile counts committed ones alone."""
        self._context.feed.progress(self._record, stage, self._counted, segment)
