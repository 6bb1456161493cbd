"""The life of a job in words and as a picture. Pure; `jobs.py` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from serving.gen.longtake.v1.jobs_pb2 import JobHappening, JobHistory, WorkSpan
    from serving.gen.longtake.v1.videos_pb2 import Plan, Video

_WIDTH, _ROW, _LEFT, _TOP = 960, 26, 190, 34
_COLOURS = {"ingesting": "#8a63d2", "denoising": "#3b7dd8", "rendering": "#2f9e62", "committing": "#c98a1b"}
_MARKS = {"claimed": "#444", "adopted": "#8a63d2", "lost": "#d33", "resumed": "#3b7dd8", "ended": "#000"}


def lines_of(history: JobHistory) -> Iterator[str]:
    """A line for each event, with seconds since the create."""
    again = f", in place of {history.requeue_of}" if history.requeue_of else ""
    yield f"{history.video.id}{again}"
    start = _ms(history.events[0].time) if history.events else 0
    if _predicted(history.video):
        yield f"predicted: {', '.join(_foretold(history.video.plan, start))}"
        yield f"really:    {', '.join(_happened(history, start))}"
    for event in history.events:
        if event.left_out:
            yield f"             ... {event.left_out} more that are not kept"
        yield f"{(_ms(event.time) - start) / 1000:+10.3f} s  {_sentence(event)}"
    if history.why not in ("", "running"):
        yield f"       now    {history.why}"


def _foretold(plan: Plan, start: int) -> Iterator[str]:
    yield f"start after {(_ms(plan.predicted_start_time) - start) / 1000:.3f} s"
    yield f"end after {(_ms(plan.predicted_end_time) - start) / 1000:.3f} s"
    for stage, engine in (("denoising", "denoiser"), ("rendering", "renderer")):
        if engine in plan.engine_seconds:
            yield f"{plan.engine_seconds[engine]:.3f} s of {stage}"


def _happened(history: JobHistory, start: int) -> Iterator[str]:
    video = history.video
    yield f"start after {(_ms(video.start_time) - start) / 1000:.3f} s" if video.HasField("start_time") else "no start"
    yield f"end after {(_ms(video.end_time) - start) / 1000:.3f} s" if video.HasField("end_time") else "no end so far"
    for stage in ("denoising", "rendering"):
        seconds = [_seconds(span) for event in history.events for span in event.spans if span.stage == stage]
        if seconds:
            yield f"{sum(seconds):.3f} s of {stage}"


def drawn(history: JobHistory) -> str:
    """One HTML page without scripts: a row per stage, a bar per piece of work, a mark per event; hover tells more."""
    spans = [(event, span) for event in history.events for span in event.spans]
    plan = history.video.plan
    predicted = [_ms(plan.predicted_start_time), _ms(plan.predicted_end_time)] if _predicted(history.video) else []
    moments = [*predicted, *(_ms(event.time) for event in history.events), *(_ms(span.end_time) for _, span in spans)]
    begin, end = min(moments, default=0), max(moments, default=1)
    scale = (_WIDTH - _LEFT - 20) / max(1, end - begin)
    stages = list(dict.fromkeys(span.stage for _, span in spans))
    rows = ["events", *(["predicted"] if predicted else []), *stages]
    parts = [_label(place, row) for place, row in enumerate(rows)]
    parts += [_mark(event, _LEFT + (_ms(event.time) - begin) * scale) for event in history.events]
    for event, span in spans:
        x = _LEFT + (_ms(span.start_time) - begin) * scale
        width = max(1.0, (_ms(span.end_time) - _ms(span.start_time)) * scale)
        parts.append(_bar(event, span, x, _TOP + rows.index(span.stage) * _ROW, width))
    if predicted:
        left, right = (_LEFT + (moment - begin) * scale for moment in predicted)
        parts.append(_outline(left, _TOP + _ROW, max(1.0, right - left), (predicted[1] - predicted[0]) / 1000))
    height = _TOP + len(rows) * _ROW + 10
    lines = "\n".join(escape(line) for line in lines_of(history))
    name = escape(history.video.id)
    return (
        f"<!doctype html><meta charset='utf-8'><title>{name}</title>"
        "<style>body{font:14px system-ui,sans-serif;margin:2em}text{font:12px system-ui,sans-serif}</style>"
        f"<h1>{name}</h1><p>{(end - begin) / 1000:.2f} s from the first event to the last</p>"
        f"<svg width='{_WIDTH}' height='{height}' role='img'>{''.join(parts)}</svg><pre>{lines}</pre>\n"
    )


def _sentence(event: JobHappening) -> str:
    where = f" of segment {event.segment}" if event.HasField("segment") else ""
    on = f" on replica {event.replica}" if event.replica else ""
    step = f" at step {event.step}" if event.HasField("step") else ""
    why = f": {event.text}" if event.text else ""
    again = f"; {event.recomputed} steps are done again" if event.recomputed else ""
    match event.kind:
        case "created":
            return f"created{why}"
        case "claimed":
            return f"attempt {event.attempt} starts, by Director {event.epoch}{why}"
        case "adopted":
            return f"Director {event.epoch} goes on with attempt {event.attempt}{on},{step}{where}"
        case "resumed":
            source = f" {event.text}" if event.text else " from the start"
            return f"goes on{source}{',' if step else ''}{step}{where}{on}{again}"
        case "lost":
            return f"attempt {event.attempt} lost its worker{step}{where}{on}{why}"
        case "committed" | "ingested":
            took = ", ".join(f"{span.stage} {_seconds(span):.2f} s" for span in event.spans)
            return f"segment {event.segment} {event.kind} ({took}){why}"
        case "requeued":
            return f"waits for another attempt{why}"
        case "cancel_requested":
            return "somebody asks to cancel it"
        case _:
            return f"{event.kind}{why}"


def _label(place: int, text: str) -> str:
    return f"<text x='8' y='{_TOP + place * _ROW + 15}'>{escape(text)}</text>"


def _mark(event: JobHappening, x: float) -> str:
    colour = _MARKS.get(event.kind, "#999")
    title = escape(_sentence(event))
    return f"<circle cx='{x:.1f}' cy='{_TOP + 11}' r='4' fill='{colour}'><title>{title}</title></circle>"


def _bar(event: JobHappening, span: WorkSpan, x: float, y: float, width: float) -> str:
    colour = _COLOURS.get(span.stage, "#777")
    title = f"segment {event.segment}, attempt {event.attempt}: {span.stage} {_seconds(span):.3f} s {span.replica}"
    return (
        f"<rect x='{x:.1f}' y='{y}' width='{width:.1f}' height='{_ROW - 6}' fill='{colour}' stroke='#fff'>"
        f"<title>{escape(title)}</title></rect>"
    )


def _outline(x: float, y: float, width: float, seconds: float) -> str:
    return (
        f"<path d='M{x:.1f} {y}h{width:.1f}v{_ROW - 6}h-{width:.1f}z' fill='none' stroke='#777' stroke-dasharray='4 3'>"
        f"<title>predicted at the create: {seconds:.3f} s of work</title></path>"
    )


def _predicted(video: Video) -> bool:
    return video.plan.HasField("predicted_end_time")


def _seconds(span: WorkSpan) -> float:
    return (_ms(span.end_time) - _ms(span.start_time)) / 1000


def _ms(moment: Timestamp) -> int:
    return moment.ToMilliseconds()
