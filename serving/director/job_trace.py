"""What one run of a job tells of itself while it goes on: its segments, and its calls to the stages.

`attempt.py` has one. How attempts end, the record tells (`jobs/traced.py`). Of a run that is not traced nothing is
measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

from serving.jobs.record import JobRecord
from serving.jobs.traced import about, attempt_of, context_of, segment_of, segment_span
from serving.stage_names import CountedWork
from serving.stages.contracts import RenderResult, SliceResult
from serving.traces import spans
from serving.traces.context import TraceContext
from serving.traces.spans import Attribute, Span, Traces

T = TypeVar("T")


class JobTrace:
    """See the module. Records are handed in as they stood when that began of which something is told."""

    def __init__(self, record: JobRecord, traces: Traces, now_ms: Callable[[], int]) -> None:
        self._root = context_of(record) if traces.on else None
        self._traces = traces
        self._now_ms = now_ms
        self._open: dict[int, int] = {}
        """When each segment that is being made began."""
        self._numbers = itertools.count()

    def segment_begins(self, segment: int) -> None:
        """It is denoised from now on."""
        if self._root is not None:
            self._open[segment] = self._now_ms()

    def segment_ends(self, record: JobRecord, segment: int) -> None:
        """It is durable."""
        if self._root is not None:
            self._traces.tell(segment_span(self._root, record, segment, self._open.pop(segment), self._now_ms()))

    def breaks_off(self, record: JobRecord, why: str) -> None:
        """The attempt ended with segments that are not done. If there is a next one in this run, it begins them now."""
        if self._root is None:
            return
        now = self._now_ms()
        for segment, began in self._open.items():
            self._traces.tell(segment_span(self._root, record, segment, began, now, error=why))
            self._open[segment] = now

    async def call(self, record: JobRecord, stage: CountedWork, segment: int | None, work: Awaitable[T]) -> T:
        """Wait for a stage, and tell of it. `segment`: what the call is for, if for one."""
        if self._root is None:
            return await work
        began = self._now_ms()
        try:
            result = await work
        except BaseException as error:
            self._called(self._root, record, stage, segment, began, {}, error=type(error).__name__)
            raise
        at = self._called(self._root, record, stage, segment, began, _results(result))
        if isinstance(result, RenderResult):
            for part in _parts(at, result, self._now_ms(), about(record)):
                self._traces.tell(part)
        return result

    def _called(
        self,
        root: TraceContext,
        record: JobRecord,
        stage: CountedWork,
        segment: int | None,
        began: int,
        results: Mapping[str, Attribute],
        *,
        error: str = "",
    ) -> TraceContext:
        attempt = record.attempt
        above = attempt_of(root, record, attempt) if segment is None else segment_of(root, record, attempt, segment)
        at = above.of(stage, record.epoch, began, next(self._numbers))
        told: dict[str, Attribute] = {
            **about(record),
            spans.STAGE_NAME: stage,
            spans.ATTEMPT_NUMBER: attempt,
            **results,
        }
        if segment is not None:
            told[spans.SEGMENT_INDEX] = segment
        if error:
            told[spans.ERROR_TYPE] = error
        name = spans.STAGE.format(stage)
        self._traces.tell(Span(name, at, above.span_id, began, self._now_ms(), told, error=error))
        return at


def _results(result: object) -> Mapping[str, Attribute]:
    if isinstance(result, SliceResult):
        return {
            spans.STEPS: max(0, result.steps_done - result.from_step),
            spans.FROM_STEP: result.from_step,
            spans.BATCH: result.together,
            spans.STEP_SECONDS: result.step_seconds,
            spans.RESTORED: result.restored,
            spans.REPLICA: result.replica,
        }
    if isinstance(result, RenderResult):
        return {spans.PART_SECONDS.format(part): seconds for part, seconds in result.seconds.items()}
    return {}


def _parts(at: TraceContext, result: RenderResult, ended: int, told: Mapping[str, Attribute]) -> Iterator[Span]:
    """Decoding and encoding take turns, group by group, and the upload follows: counted back from the end."""
    upload = round(1000 * result.seconds.get("upload", 0.0))
    before = round(1000 * (result.seconds.get("decode", 0.0) + result.seconds.get("encode", 0.0)))
    if before:
        start = ended - upload - before
        yield Span(spans.ENCODE, at.of(spans.ENCODE), at.span_id, start, ended - upload, told)
    if upload:
        yield Span(spans.UPLOAD, at.of(spans.UPLOAD), at.span_id, ended - upload, ended, told)
