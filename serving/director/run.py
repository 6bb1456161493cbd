"""One attempt at one job: prompt → conditions → for each segment denoise, render, commit.

The Director starts it (`running.py`), `outcome.py` says what becomes of the job when it raises. It continues from what
the record says is committed, so the same code runs a job from the start and after any loss. Segment n is rendered and
committed behind while segment n+1 is denoised. Whatever a replica that goes away was doing is given to another
(`attempt.py`, `denoising.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from serving.director import chain
from serving.director.attempt import Attempt
from serving.director.conditions import Conditions
from serving.director.context import RunContext
from serving.director.denoising import Denoised, SegmentDenoising
from serving.director.history import History, Script, grown, history_of, script_of
from serving.director.one_behind import OneBehind
from serving.director.prepare import Preparation
from serving.estimates import Course
from serving.jobs.history import EventKind, WorkSpan
from serving.jobs.record import JobRecord, JobState, Phase
from serving.metrics import SEGMENTS_COMMITTED, VIDEO_SECONDS
from serving.plan import PlannedSegment
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.stage_names import DENOISER, RENDERER, CountedWork
from serving.stages.contracts import CancelCall, ImageResult, InputsResult, RenderResult, SliceResult

_TO_RENDER: tuple[CountedWork, ...] = (DENOISER, RENDERER)
"""The Denoiser hands the latents over."""

T = TypeVar("T")


class JobRun:
    """One attempt at one job. `cancel` may be called at any time from the same event loop."""

    def __init__(
        self,
        record: JobRecord,
        *,
        segments: Segments,
        context: RunContext,
        adopted: chain.Reached | None = None,
    ) -> None:
        """`adopted`: an earlier Director's attempt that lives on at this replica."""
        self.attempt = Attempt(record, context)
        self._family = context.models.family(record.plan.model)
        self._context = context
        self._segments = segments
        self._inputs = InputsResult()
        self._conditions = Conditions(self.attempt, self.attempt.stages)
        self._denoiser = adopted.replica if adopted else None
        self._adopted = adopted is not None
        self._reached = adopted or chain.reached(record)
        self.course = Course.of(record.plan, record.steps_done)
        """How far it has come, steps of segments that are not committed yet included."""

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
            record = self._record
            await self.attempt.stages.cancel(CancelCall(record.id, self._denoiser, record.epoch, record.attempt))

    # ── videos ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _make_segments(self, parent: SegmentManifest | None) -> None:
        """Denoise ahead, render and commit one segment behind."""
        history = history_of(parent, self._family) if parent else None
        left = chain.remaining(self._record)
        async with OneBehind[SegmentManifest]() as behind:
            for planned in left:
                script = script_of(self._record, self._family, self._inputs, history, planned)
                made = await self._denoise(planned, history, script)
                parent = await behind.result() or parent
                behind.start(self._finish_segment(planned, parent, script, made, last=planned is left[-1]))
                history = grown(history, made.latents, self._family, script.plan)
            await behind.result()

    async def _finish_segment(
        self, planned: PlannedSegment, parent: SegmentManifest | None, script: Script, made: Denoised, *, last: bool
    ) -> SegmentManifest:
        """Render, then commit: blobs (the stages did), manifest, record."""
        if last:
            self._tell(Phase.RENDERING, planned.index)
        rendered, rendering = await self._render(planned, parent, made, last=last)
        began = self._context.now_ms()
        manifest = chain.generated(
            self._record,
            self._family,
            parent=parent,
            inputs=self._inputs,
            script=script,
            latents=made.latents,
            rendered=rendered,
        )
        digest = await self._segments.commit(manifest)
        spans = (rendering, self._span("committing", began))
        await self._commit(planned, made, spans, last, segments=(*self._record.segments, digest))
        return manifest

    async def _render(
        self, planned: PlannedSegment, parent: SegmentManifest | None, made: Denoised, *, last: bool
    ) -> tuple[RenderResult, WorkSpan]:
        call = chain.render_call(self._record, self._family, parent, made.latents)
        take = chain.take_call(self._record, planned, made.latents, made.replica, last=last)
        rendered, span = await self._at_a_renderer(
            planned,
            lambda: self.attempt.stages.render(call, self.attempt.stages.take_latents(take)),
        )
        seconds = sum(rendered.seconds.values())
        if seconds:
            self._context.measured(RENDERER, self._record, planned, 1, seconds)
        return rendered, span

    # ── images ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _make_images(self) -> None:
        """Every image is the first frame of a root segment of its own."""
        left = chain.remaining(self._record)
        for planned in left:
            script = script_of(self._record, self._family, self._inputs, None, planned)
            made = await self._denoise(planned, None, script)
            self._tell(Phase.RENDERING, planned.index)
            last = planned is left[-1]
            drawn, drawing = await self._draw(planned, made, last=last)
            await self._commit(planned, made, (drawing,), last, images=(*self._record.images, drawn.image))

    async def _draw(self, planned: PlannedSegment, made: Denoised, *, last: bool) -> tuple[ImageResult, WorkSpan]:
        call = chain.image_call(self._record, self._family)
        take = chain.take_call(self._record, planned, made.latents, made.replica, last=last)
        return await self._at_a_renderer(
            planned,
            lambda: self.attempt.stages.render_image(call, self.attempt.stages.take_latents(take)),
        )

    # ── both ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _denoise(self, planned: PlannedSegment, history: History | None, script: Script) -> Denoised:
        """The segment's latents, on whichever replicas live."""
        self.attempt.trace.segment_begins(planned.index)
        reached = self._reached if self._reached and self._reached.segment == planned.index else None
        before = (planned.index - self._record.plan.segments[0].index) * self._record.plan.steps

        def on_slice(result: SliceResult) -> None:
            self._denoiser = result.replica
            self.course = self.course.at(max(self.course.steps_done, before + result.steps_done))
            self._tell(Phase.DENOISING, planned.index, preview=result.preview)

        denoising = SegmentDenoising(
            self.attempt,
            self._context,
            planned,
            chain.condition_call(self._record, self._inputs, history, script),
            reached=reached.step if reached else 0,
            # A new segment may begin on any replica: that is how a long job finds those that were started since.
            replica=self._denoiser if reached else None,
            adopted=self._adopted,
            on_slice=on_slice,
        )
        return await denoising.run(self._conditions)

    async def _at_a_renderer(self, planned: PlannedSegment, call: Callable[[], Awaitable[T]]) -> tuple[T, WorkSpan]:
        """Call a Renderer when it is this job's turn, and tell how long that took."""

        began = 0

        async def work() -> T:
            nonlocal began
            began = self._context.now_ms()
            return await call()

        renderers = self._context.models.renderers(self._record.plan.model)
        place = partial(renderers.place, lambda: self._context.rank(self._record))
        result = await self.attempt.surviving(_TO_RENDER, work, place=place, segment=planned.index)
        return result, self._span("rendering", began)

    async def _commit(
        self,
        planned: PlannedSegment,
        denoised: Denoised,
        spans: tuple[WorkSpan, ...],
        last: bool,
        **made: tuple[str, ...],
    ) -> None:
        """Name what was made in the record; with the last of it the job ends. `spans` came after the denoising."""
        record, reused = self._record, denoised.steps_reused
        told = f"{reused} of {record.plan.steps} steps reused" if reused else ""
        self.attempt.note(EventKind.COMMITTED, segment=planned.index, spans=(denoised.span, *spans), text=told)
        steps = {"steps_done": record.steps_done + record.plan.steps, "steps_reused": record.steps_reused + reused}
        changes = {**steps, "crashes": 0, **made}
        if last:
            await self.attempt.finish(JobState.SUCCEEDED, **changes)
        else:
            await self.attempt.write(**changes)
        self.attempt.trace.segment_ends(self._record, planned.index)
        self._context.metrics.add(SEGMENTS_COMMITTED, kind="generated")
        self._context.metrics.add(VIDEO_SECONDS, planned.frames / self._record.plan.track.fps)

    @property
    def _record(self) -> JobRecord:
        return self.attempt.record

    def _span(self, stage: str, began_ms: int) -> WorkSpan:
        return WorkSpan(stage=stage, start_ms=began_ms, end_ms=self._context.now_ms())

    def _tell(self, stage: str, segment: int = 0, *, preview: str = "") -> None:
        """Live progress. Steps only grow, though a record that is written meanwhile counts committed ones alone."""
        self._context.feed.progress(self._record, stage, self.course.steps_done, segment, preview=preview)
