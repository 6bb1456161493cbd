"""How far a job is, counted in steps done and never in time passed. Pure; all surfaces show it."""

from __future__ import annotations

from dataclasses import dataclass

from serving.frontdoor.follow.views import View
from serving.jobs.record import JobState


@dataclass(frozen=True)
class Progress:
    """Numbers of one moment."""

    stage: str
    steps_done: int
    steps_total: int
    segments_done: int
    segments_total: int
    percent: int
    """0 to 99 while the job is on its way; 100 only when the result is there."""


def progress_of(view: View) -> Progress:
    """The record's numbers, and what the Director has counted since."""
    record, live = view.record, view.progress
    total = record.plan.total_steps
    ingested = 1 if record.request.ingests and record.segments else 0
    segments = len(record.segments) - ingested + len(record.images)
    steps, stage = record.steps_done, record.phase.value if record.phase else ""
    if live is not None and record.state is JobState.RUNNING:
        steps, stage = max(steps, live.steps_done), live.stage or stage
    return Progress(
        stage="" if record.state.terminal else stage,
        steps_done=min(steps, total),
        steps_total=total,
        segments_done=segments,
        segments_total=len(record.plan.segments),
        percent=100 if record.state is JobState.SUCCEEDED else min(99, steps * 99 // max(1, total)),
    )
