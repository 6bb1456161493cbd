"""What a job needs once, before its first segment: its parent, its pictures, its caption. `run.py` begins with it."""

from __future__ import annotations

from functools import partial

from engines.families.base import Family, Subject
from engines.families.capabilities import Role
from serving.director import chain
from serving.director.attempt import Attempt
from serving.director.context import RunContext
from serving.director.history import before, history_of
from serving.errors import InvalidArgument
from serving.jobs.history import EventKind, WorkSpan
from serving.jobs.record import JobRecord, Phase
from serving.metrics import SEGMENTS_COMMITTED
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.stage_names import CONDITIONER, INGEST, PROMPT_WRITER
from serving.stages.contracts import IngestCall, IngestResult, InputsCall, InputsResult, PromptCall, PromptResult


class Preparation:
    """Of one attempt. What it makes is cached by content, so that a later attempt finds most of it done."""

    def __init__(self, attempt: Attempt, family: Family, context: RunContext, segments: Segments) -> None:
        self._attempt = attempt
        self._family = family
        self._context = context
        self._segments = segments
        self._inputs = InputsResult()

    async def run(self) -> tuple[SegmentManifest | None, InputsResult]:
        """The segment that the first new one follows, and what was read from the user's pictures."""
        parent = await self._parent()
        if self._record.request.ingests and parent is None:
            parent = await self._ingest()
        await self._read_inputs(parent)
        await self._understand(parent)
        return parent, self._inputs

    async def _parent(self) -> SegmentManifest | None:
        head = self._record.head
        return await self._segments.get(head) if head else None

    async def _ingest(self) -> SegmentManifest:
        """The foreign video becomes a committed root segment."""
        source = self._record.request.ingests
        assert source is not None
        self._tell("ingesting")
        call = IngestCall(
            tenant=self._record.tenant,
            model=self._record.plan.model,
            blob=source.blob,
            canvas=chain.canvas_of(self._record),
            track=self._record.plan.track,
            job=self._record.id,
        )
        began = 0

        async def work() -> IngestResult:
            nonlocal began
            began = self._context.now_ms()
            return await self._attempt.stages.ingest(call)

        places = self._context.models.ingesters(self._record.plan.model)
        place = partial(places.place, lambda: self._context.rank(self._record))
        result = await self._attempt.surviving((INGEST,), work, place=place)
        manifest = chain.ingested(self._record, result)
        digest = await self._segments.commit(manifest)
        self._attempt.note(EventKind.INGESTED, segment=0, spans=(self._span("ingesting", began),))
        await self._attempt.write(
            segments=(digest,),
            crashes=0,
            phase=Phase.PROMPT,
            warnings=chain.merged(self._record.warnings, result.warnings),
        )
        self._context.metrics.add(SEGMENTS_COMMITTED, kind="ingested")
        return manifest

    async def _read_inputs(self, parent: SegmentManifest | None) -> None:
        """Encode the pictures; an extension without references of its own keeps its parent's."""
        request = self._record.request
        if request.first_frame or request.references:
            self._tell(Phase.CONDITIONING)
            call = InputsCall(
                tenant=self._record.tenant,
                model=self._record.plan.model,
                model_digest=self._record.plan.model_digest,
                canvas=chain.canvas_of(self._record),
                first_frame=request.first_frame,
                references=request.references,
                roles=self._roles,
                job=self._record.id,
            )
            self._inputs = await self._attempt.surviving((CONDITIONER,), lambda: self._attempt.stages.read_inputs(call))
        if parent is not None and not request.references:
            self._inputs = InputsResult(
                references=parent.references,
                effective_references=parent.effective_references,
                warnings=self._inputs.warnings,
            )

    @property
    def _roles(self) -> tuple[Role, ...]:
        """Raises `InvalidArgument`: the front door has asked, perhaps another version's."""
        request = self._record.request
        try:
            return self._family.roles(request.prompt, len(request.references))
        except ValueError as error:
            field, _, reason = str(error).partition(": ")
            raise InvalidArgument(field, reason) from error

    async def _understand(self, parent: SegmentManifest | None) -> None:
        """The prompt becomes the caption that the model sees; what was understood is published before work starts."""
        written = await self._write_prompt(parent)
        await self._attempt.write(
            phase=Phase.DENOISING,
            effective_prompt=chain.in_one(written.effective_prompts),
            captions=written.effective_prompts if len(set(written.effective_prompts)) > 1 else (),
            effective_references=self._inputs.effective_references,
            warnings=chain.merged(self._record.warnings, self._inputs.warnings, written.warnings),
        )

    async def _write_prompt(self, parent: SegmentManifest | None) -> PromptResult:
        """Once per job: a model may word it otherwise the next time."""
        if self._record.effective_prompt:
            return PromptResult(self._record.captions or (self._record.effective_prompt,))
        self._tell(Phase.PROMPT)
        plan = self._record.plan
        history = history_of(parent, self._family) if parent else None
        call = PromptCall(
            model=plan.model,
            prompt=self._record.request.prompt,
            subject=self._subject(parent),
            seed=plan.seed,
            before=before(self._record, self._family, self._inputs, history),
            segments=len(plan.segments) if self._record.request.kind is Kind.VIDEO else 1,
            inherited=(parent.effective_prompt or None) if parent else None,
            negative_prompt=self._record.request.negative_prompt,
            tenant=self._record.tenant,
            job=self._record.id,
        )
        return await self._attempt.surviving((PROMPT_WRITER,), lambda: self._attempt.stages.write_prompt(call))

    def _subject(self, parent: SegmentManifest | None) -> Subject:
        if self._inputs.references:
            return "reference"
        if self._record.request.first_frame or (parent is not None and parent.kind == "ingested"):
            return "frame"
        return "named"

    @property
    def _record(self) -> JobRecord:
        return self._attempt.record

    def _span(self, stage: str, began_ms: int) -> WorkSpan:
        return WorkSpan(stage=stage, start_ms=began_ms, end_ms=self._context.now_ms())

    def _tell(self, stage: str) -> None:
        self._context.feed.progress(self._record, stage, self._record.steps_done, 0)
