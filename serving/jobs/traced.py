"""What the writes of a job's record say of its trace: how long it waited, and how its attempts ended. Pure.

Whoever moves a record tells these spans: they follow from the record alone, so that a Director tells of the attempt
that another one began and did not live to end. Ids of attempts and segments follow from the job (`TraceContext.of`),
for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from serving.jobs.history import Event, EventKind
from serving.jobs.record import JobRecord, JobState
from serving.traces import spans
from serving.traces.context import TraceContext, parse
from serving.traces.spans import Attribute, Span, Traces


def context_of(record: JobRecord) -> TraceContext | None:
    """The span of the job's create, if that was traced and its trace is kept."""
    found = parse(record.traceparent)
    return found if found and found.sampled else None


def trace_id_of(record: JobRecord) -> str:
    """For logs and for people; empty where the create was not traced."""
    found = parse(record.traceparent)
    return found.trace_id if found else ""


def attempt_of(root: TraceContext, record: JobRecord, attempt: int) -> TraceContext:
    """An attempt's span."""
    return root.of(spans.ATTEMPT, record.id, attempt)


def segment_of(root: TraceContext, record: JobRecord, attempt: int, segment: int) -> TraceContext:
    """The span of one attempt at a segment."""
    return root.of(spans.SEGMENT, record.id, attempt, segment)


def about(record: JobRecord) -> dict[str, Attribute]:
    """What every span of a job says."""
    return {spans.RESPONSE_ID: record.id, spans.TENANT: record.tenant, spans.REQUEST_MODEL: record.request.model}


def tell_moved(traces: Traces, before: JobRecord, after: JobRecord, now_ms: int) -> None:
    """Tell what was over with this write."""
    root = context_of(after) if traces.on else None
    if root is None:
        return
    for span in moved(root, before, after, now_ms):
        traces.tell(span)


def moved(root: TraceContext, before: JobRecord, after: JobRecord, now_ms: int) -> Iterator[Span]:
    """The spans that ended when `before` became `after`."""
    if before.started_ms is None and (after.started_ms is not None or after.state.terminal):
        at = root.of(spans.QUEUE, after.id)
        yield Span(spans.QUEUE, at, root.span_id, after.created_ms, now_ms, {**about(after), **_state(after)})
    if before.state is JobState.RUNNING and (after.attempt != before.attempt or after.state is not JobState.RUNNING):
        yield _attempt(root, before, after, now_ms)
        yield from _left(root, before, after, now_ms)


def began_ms(record: JobRecord, attempt: int) -> int:
    """When an attempt began, as far as the history still tells."""
    for event in reversed(record.events):
        if _begins(event) == attempt:
            return event.at_ms
    return record.created_ms if record.started_ms is None else record.started_ms


def _begins(event: Event) -> int | None:
    """The attempt that begins with an event: the one that is claimed, or the one after the lost one."""
    if event.kind is EventKind.CLAIMED:
        return event.attempt
    return event.attempt + 1 if event.kind is EventKind.LOST else None


def _attempt(root: TraceContext, before: JobRecord, after: JobRecord, now_ms: int) -> Span:
    number = before.attempt
    told = {spans.ATTEMPT_NUMBER: number, spans.EPOCH: before.epoch, **_state(after)}
    return Span(
        spans.ATTEMPT,
        attempt_of(root, before, number),
        root.span_id,
        began_ms(before, number),
        now_ms,
        {**about(before), **told},
        links=(attempt_of(root, before, number - 1),) if number > 1 else (),
        error=_why(after),
    )


def _left(root: TraceContext, before: JobRecord, after: JobRecord, now_ms: int) -> Iterator[Span]:
    """The segment at which a Director that went away left its attempt: nobody else tells of it."""
    claimed = after.events[-1] if after.events else None
    if claimed is None or claimed.kind is not EventKind.CLAIMED or claimed.segment is None:
        return
    committed = [event.at_ms for event in before.events if event.kind is EventKind.COMMITTED]
    began = max([began_ms(before, before.attempt), *committed])
    yield segment_span(root, before, claimed.segment, began, now_ms, error=_why(after))


def segment_span(
    root: TraceContext, record: JobRecord, segment: int, began: int, ended: int, *, error: str = ""
) -> Span:
    """One attempt at a segment, from milliseconds to milliseconds."""
    at = segment_of(root, record, record.attempt, segment)
    parent = attempt_of(root, record, record.attempt)
    told = {spans.ATTEMPT_NUMBER: record.attempt, spans.SEGMENT_INDEX: segment}
    return Span(spans.SEGMENT, at, parent.span_id, began, ended, {**about(record), **told}, error=error)


def _state(record: JobRecord) -> Mapping[str, Attribute]:
    return {spans.STATE: record.state.value}


def _why(after: JobRecord) -> str:
    """Why the attempt did not end the job; empty where it did. No sentence of an error: it may quote the user."""
    if after.state is JobState.SUCCEEDED:
        return ""
    if after.error is not None:
        return after.error.code
    if after.state.terminal:
        return after.state.value
    last = after.events[-1].kind if after.events else ""
    return "the Director went away" if last == EventKind.CLAIMED else str(last)
