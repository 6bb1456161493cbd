"""What a write of a record says of its trace, and that records of before have none."""

from __future__ import annotations

from typing import Any

import pytest

from serving.jobs.history import Event, EventKind
from serving.jobs.record import JobError, JobRecord, JobState
from serving.jobs.traced import attempt_of, began_ms, context_of, moved, segment_of, trace_id_of
from serving.traces import spans
from serving.traces.context import TraceContext
from serving.traces.spans import Span
from tests.unit.serving.frontdoor.builders import record

ROOT = TraceContext("a" * 32, "b" * 16, sampled=True)
NOW = 9_000


def job(**fields: Any) -> JobRecord:
    return record(**{"traceparent": ROOT.traceparent, "created_ms": 1_000, **fields})


def event(kind: EventKind, at_ms: int, **fields: Any) -> Event:
    return Event(kind=kind, at_ms=at_ms, **fields)


def ended(before: JobRecord, **changes: Any) -> dict[str, Span]:
    told = list(moved(ROOT, before, before.model_copy(update=changes), NOW))
    assert len({span.name for span in told}) == len(told)
    return {span.name: span for span in told}


RUNNING = job(
    state=JobState.RUNNING,
    attempt=1,
    epoch=3,
    started_ms=2_000,
    events=(event(EventKind.CLAIMED, 2_000, attempt=1),),
)


def test_a_record_keeps_its_trace_and_one_of_before_has_none() -> None:
    written = job()
    assert JobRecord.decode(written.encode()) == written
    assert (context_of(written), trace_id_of(written)) == (ROOT, "a" * 32)
    before = record()
    assert (before.traceparent, context_of(before), trace_id_of(before)) == ("", None, "")


@pytest.mark.parametrize("said", ["junk", "00-" + "0" * 32 + "-" + "b" * 16 + "-01", ROOT.traceparent + "\n"])
def test_what_is_no_context_in_a_record_is_none(said: str) -> None:
    assert context_of(job(traceparent=said)) is None


def test_a_trace_that_is_not_kept_has_an_id_and_no_spans() -> None:
    unkept = job(traceparent=TraceContext("a" * 32, "b" * 16, sampled=False).traceparent)
    assert (context_of(unkept), trace_id_of(unkept)) == (None, "a" * 32)


def test_the_first_start_ends_the_wait_and_later_ones_end_no_other() -> None:
    started = ended(job(), state=JobState.RUNNING, attempt=1, started_ms=NOW)
    assert started.keys() == {spans.QUEUE}
    waited = started[spans.QUEUE]
    assert (waited.parent, waited.start_ms, waited.end_ms) == (ROOT.span_id, 1_000, NOW)
    again = job(attempt=1, started_ms=2_000)
    assert ended(again, state=JobState.RUNNING, attempt=2) == {}


def test_a_job_that_is_cancelled_while_it_waits_has_waited() -> None:
    told = ended(job(), state=JobState.CANCELLED)
    assert told.keys() == {spans.QUEUE}
    assert told[spans.QUEUE].attributes[spans.STATE] == "cancelled"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"state": JobState.SUCCEEDED}, ""),
        ({"state": JobState.CANCELLED}, "cancelled"),
        (
            {"state": JobState.FAILED, "error": JobError(code="INVALID_ARGUMENT", message="a red circle")},
            "INVALID_ARGUMENT",
        ),
        ({"state": JobState.QUEUED, "events": (event(EventKind.REQUEUED, NOW, text="a red circle"),)}, "requeued"),
        ({"attempt": 2, "events": (event(EventKind.LOST, NOW, attempt=1, text="denoiser: gone"),)}, "lost"),
    ],
)
def test_however_an_attempt_ends_it_is_told_once_and_quotes_nobody(changes: dict[str, Any], error: str) -> None:
    told = ended(RUNNING, **changes)
    assert told.keys() == {spans.ATTEMPT}
    attempt = told[spans.ATTEMPT]
    assert (attempt.at, attempt.parent) == (attempt_of(ROOT, RUNNING, 1), ROOT.span_id)
    assert (attempt.start_ms, attempt.end_ms, attempt.error, attempt.links) == (2_000, NOW, error, ())
    assert "a red circle" not in repr(attempt)


def test_a_write_in_the_midst_of_an_attempt_ends_nothing() -> None:
    assert ended(RUNNING, steps_done=4, version=7) == {}


def test_the_next_director_tells_of_what_the_one_before_left_and_the_next_attempt_links_to_it() -> None:
    committed = event(EventKind.COMMITTED, 5_000, attempt=1, segment=0)
    left = RUNNING.model_copy(update={"events": (*RUNNING.events, committed)})
    claimed = event(EventKind.CLAIMED, NOW, attempt=2, segment=1, step=3, text="its Director went away")
    told = ended(left, attempt=2, epoch=4, events=(*left.events, claimed))

    assert told.keys() == {spans.ATTEMPT, spans.SEGMENT}
    attempt, segment = told[spans.ATTEMPT], told[spans.SEGMENT]
    assert (attempt.start_ms, attempt.error) == (2_000, "the Director went away")
    assert attempt.attributes[spans.EPOCH] == 3
    assert (segment.at, segment.parent) == (segment_of(ROOT, left, 1, 1), attempt.at.span_id)
    assert (segment.start_ms, segment.end_ms) == (5_000, NOW)

    second = left.model_copy(update={"attempt": 2, "epoch": 4, "events": (*left.events, claimed)})
    assert ended(second, state=JobState.SUCCEEDED)[spans.ATTEMPT].links == (attempt.at,)


def test_an_attempt_that_follows_a_loss_began_with_it() -> None:
    lost = job(attempt=2, started_ms=2_000, events=(*RUNNING.events, event(EventKind.LOST, 4_000, attempt=1)))
    assert [began_ms(lost, number) for number in (1, 2, 3)] == [2_000, 4_000, 2_000]
