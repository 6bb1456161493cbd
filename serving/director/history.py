"""A video's latents as its next segment may see them, and that segment's script: its caption and the plan of what it is
shown. Pure.

A family plans by numbers of latents (`engines.families.history`); here they are found in the store. `chain.py` asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.families.base import Family
from engines.families.capabilities import Canvas
from engines.families.history import Before, HistoryPlan, Reference
from serving.jobs.record import JobRecord
from serving.plan import PlannedSegment
from serving.requests import Kind
from serving.segments.manifest import LatentRef, SegmentManifest
from serving.stages.contracts import InputsResult


@dataclass(frozen=True)
class History:
    """What there is of a video."""

    anchor: LatentRef
    """The first latent."""
    tail: LatentRef
    """The newest ones, as many as the family takes: `short` in a family's `Conditions`."""
    latents: int
    """In all."""
    facts: str = ""
    """Of the newest segment's plan."""
    kept: Mapping[int, LatentRef] = field(default_factory=dict)
    """Those that a plan may ask for, by number."""

    def lead(self, family: Family) -> LatentRef | None:
        """The latents from which the decoder's state is rebuilt, where it has one and a segment brings none itself."""
        return _last(self.tail, family.lead_latents) if family.lead_latents else None


@dataclass(frozen=True)
class Script:
    """Of one segment."""

    caption: str
    before: Before
    plan: HistoryPlan


def history_of(manifest: SegmentManifest, family: Family) -> History:
    """The history that an extension of this segment sees."""
    return History(
        manifest.anchor,
        manifest.tail,
        family.capabilities.latents_of(manifest.total_frames),
        manifest.facts,
        {kept.number: kept.latent for kept in manifest.memory},
    )


def grown(history: History | None, latents: LatentRef, family: Family, plan: HistoryPlan) -> History:
    """The history after one more segment. The first segment's first latent is the anchor for ever."""
    anchor = history.anchor if history else _one(latents, 0)
    count = (history.latents if history else 0) + latents.count
    known = {
        **(_by_number(history.tail, history.latents) if history else {}),
        # What it has in front of its own shows again what was before, the first of it as a still.
        **_by_number(_last(latents, latents.start + latents.count), count),
        **(history.kept if history else {}),
    }
    return History(
        anchor,
        _last(latents, family.history_latents),
        count,
        plan.facts,
        {number: known[number] for number in plan.keep},
    )


def before(record: JobRecord, family: Family, inputs: InputsResult, history: History | None) -> Before:
    """Where a segment begins: behind this history, or a video with these inputs."""
    plan = record.plan
    canvas = Canvas(plan.aspect_ratio, plan.height, plan.width)
    if history is not None:
        references = tuple(Reference() for _ in inputs.references)
        return Before(canvas, history.latents, history.facts, references=references)
    roles = family.roles(record.request.prompt, len(inputs.references))
    facts = inputs.reference_facts or ("",) * len(roles)
    return Before(
        canvas,
        facts=inputs.first_facts,
        first=inputs.first_frame is not None,
        references=tuple(Reference(role, fact) for role, fact in zip(roles, facts, strict=True)),
    )


def script_of(
    record: JobRecord, family: Family, inputs: InputsResult, history: History | None, planned: PlannedSegment
) -> Script:
    """What the segment after `history` is to show, and what it is shown."""
    caption = record.caption(record.plan.segments[0].index if record.request.kind is Kind.IMAGE else planned.index)
    where = before(record, family, inputs, history)
    return Script(caption, where, family.plan_history(caption, where))


def _by_number(latents: LatentRef, end: int) -> dict[int, LatentRef]:
    """Latents of a blob by their numbers in the video, the last one's being the one before `end`."""
    return {end - latents.count + place: _one(latents, place) for place in range(latents.count)}


def _one(latents: LatentRef, place: int) -> LatentRef:
    return LatentRef(blob=latents.blob, start=latents.start + place, count=1)


def _last(latents: LatentRef, count: int) -> LatentRef:
    """The newest ones of a blob; they may reach back into what lies there in front of a segment."""
    end = latents.start + latents.count
    kept = min(count, end)
    return LatentRef(blob=latents.blob, start=end - kept, count=kept)
