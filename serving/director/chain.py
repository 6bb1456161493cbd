"""What the stages are asked for a job's segments, and the manifests that come of it. Pure.

`run.py` keeps a `History` (`history.py`) while it denoises ahead, and the newest manifest while it commits behind.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import groupby

from engines.families.base import Family
from serving.director.history import History, Script, grown, history_of
from serving.jobs.history import EventKind
from serving.jobs.record import JobRecord
from serving.plan import PlannedSegment
from serving.requests import Kind
from serving.segments.manifest import KeptLatent, LatentRef, ManifestCanvas, SegmentManifest, ShownSource
from serving.stages.contracts import (
    ConditionCall,
    ImageCall,
    IngestResult,
    InputsResult,
    RenderCall,
    RenderResult,
    TakeCall,
)


@dataclass(frozen=True)
class Reached:
    """How far the segment that was being denoised had come."""

    segment: int
    step: int
    replica: str | None = None
    """Where its latents are, if that is known."""

    @property
    def place(self) -> tuple[int, int]:
        """Segment and step."""
        return self.segment, self.step


def reached(record: JobRecord) -> Reached | None:
    """What the job's history says of the segment that its last attempt did not finish."""
    for event in reversed(record.events):
        if event.kind is EventKind.COMMITTED:
            return None
        if event.kind in (EventKind.LOST, EventKind.CLAIMED) and event.segment is not None:
            return Reached(event.segment, event.step or 0)
    return None


def condition_call(record: JobRecord, inputs: InputsResult, history: History | None, script: Script) -> ConditionCall:
    """All that the segment after `history` is conditioned on; after None: a root, which may have a first frame."""
    plan = script.plan
    return ConditionCall(
        tenant=record.tenant,
        model=record.plan.model,
        canvas=canvas_of(record),
        first_frame=None if history else inputs.first_frame,
        references=inputs.references,
        anchor=history.anchor if history and plan.of("anchor") else None,
        tail=history.tail if history and plan.of("newest") else None,
        memory=tuple(history.kept[number] for number in plan.of("memory")) if history else (),
        image=record.request.kind is Kind.IMAGE,
        effective_prompt=script.caption,
        before=script.before if plan.facts else None,
        job=record.id,
    )


def fingerprint(record: JobRecord, call: ConditionCall, planned: PlannedSegment) -> str:
    """Of all that decides a segment's latents. It is stored with checkpoints, and so are the names of these fields."""
    plan = record.plan
    decides: tuple[object, ...] = (call, planned, call.effective_prompt, plan.model_digest, plan.seed, plan.steps)
    if call.before:
        decides = (*decides, call.before, call.memory)
    if record.request.negative_prompt:  # without one, checkpoints are found where they always were
        decides = (*decides, record.request.negative_prompt)
    if plan.step_cache:
        decides = (*decides, plan.step_cache)
    return hashlib.sha256(repr(decides).encode()).hexdigest()


def take_call(record: JobRecord, planned: PlannedSegment, latents: LatentRef, replica: str, *, last: bool) -> TakeCall:
    """Hand over a finished segment's latents, which lie with `replica`."""
    return TakeCall(record.tenant, record.id, record.attempt, planned.index, replica, latents, last)


def render_call(record: JobRecord, family: Family, parent: SegmentManifest | None, latents: LatentRef) -> RenderCall:
    """Make the segment after `parent`, of these latents, a part of the film."""
    return RenderCall(
        tenant=record.tenant,
        job=record.id,
        model=record.plan.model,
        track=record.plan.track,
        start_frame=parent.total_frames if parent else 0,
        sequence_start=parent.fragments if parent else 0,
        lead=_lead(family, parent, latents),
    )


def image_call(record: JobRecord, family: Family) -> ImageCall:
    """Make the first frame of a root a picture."""
    longest_side = family.capabilities.image_resolutions[record.request.resolution]
    return ImageCall(tenant=record.tenant, job=record.id, model=record.plan.model, longest_side=longest_side)


def generated(
    record: JobRecord,
    family: Family,
    *,
    parent: SegmentManifest | None,
    inputs: InputsResult,
    script: Script,
    latents: LatentRef,
    rendered: RenderResult,
) -> SegmentManifest:
    """The manifest of a segment that was just made after `parent`, by this script."""
    after = grown(history_of(parent, family) if parent else None, latents, family, script.plan)
    return SegmentManifest(
        kind="generated",
        tenant=record.tenant,
        video=record.id,
        parent=parent.digest() if parent else None,
        depth=parent.depth + 1 if parent else 0,
        model=record.plan.model,
        model_digest=record.plan.model_digest,
        prompt=record.request.prompt,
        effective_prompt=script.caption,
        seed=record.plan.seed,
        steps=record.plan.steps,
        canvas=canvas_of(record),
        track=record.plan.track,
        frames=rendered.frames,
        start_frame=parent.total_frames if parent else 0,
        latents=latents,
        anchor=after.anchor,
        tail=after.tail,
        references=inputs.references,
        effective_references=inputs.effective_references,
        history_left_out=max(0, script.before.latents - script.plan.latents),
        history=tuple(ShownSource(**vars(source)) for source in script.plan.sources),
        memory=tuple(KeptLatent(number=number, latent=latent) for number, latent in after.kept.items()),
        facts=script.plan.facts,
        init=rendered.init,
        parts=(rendered.media,),
        thumbnail=rendered.thumbnail,
        trail=parent.next_trail() if parent else None,
    )


def ingested(record: JobRecord, result: IngestResult) -> SegmentManifest:
    """The root manifest of a foreign video."""
    return SegmentManifest(
        kind="ingested",
        tenant=record.tenant,
        video=record.id,
        parent=None,
        depth=0,
        model=record.plan.model,
        model_digest=record.plan.model_digest,
        prompt="",
        effective_prompt="",
        seed=record.plan.seed,
        steps=0,
        canvas=canvas_of(record),
        track=record.plan.track,
        frames=result.frames,
        start_frame=0,
        latents=result.latents,
        anchor=result.anchor,
        tail=result.tail,
        init=result.init,
        parts=(result.media,),
        thumbnail=result.thumbnail,
        facts=result.facts,
    )


def canvas_of(record: JobRecord) -> ManifestCanvas:
    """The native frame of a job."""
    plan = record.plan
    return ManifestCanvas(aspect_ratio=plan.aspect_ratio, height=plan.height, width=plan.width)


def remaining(record: JobRecord) -> tuple[PlannedSegment, ...]:
    """The planned segments, or images, that are not committed yet."""
    ingested_first = 1 if record.request.ingests else 0
    return record.plan.segments[len(record.images) or max(0, len(record.segments) - ingested_first) :]


def in_one(captions: tuple[str, ...]) -> str:
    """What a video shows, from what its segments show: each once in a row."""
    return "; then ".join(caption for caption, _ in groupby(captions))


def stands_at(record: JobRecord) -> tuple[int, int]:
    """The segment and the step that its last attempt is known to have come to."""
    if (came := reached(record)) is not None:
        return came.segment, came.step
    left = remaining(record)
    return (left[0].index if left else record.plan.segments[-1].index + 1), 0


def merged(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """All the sentences once, in order: an attempt that runs again says nothing twice."""
    return tuple(dict.fromkeys(sentence for group in groups for sentence in group))


def _lead(family: Family, parent: SegmentManifest | None, latents: LatentRef) -> LatentRef | None:
    """What is decoded before a segment and not shown: what it has in front of it in its own blob, else its parent's."""
    if latents.start:
        return LatentRef(blob=latents.blob, start=0, count=latents.start)
    return history_of(parent, family).lead(family) if parent else None
