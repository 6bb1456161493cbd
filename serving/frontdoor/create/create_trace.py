"""The span of one create, and of its parts. `create.py` has one for every create; of one that is not traced nothing is
measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.errors import LongtakeError
from serving.frontdoor.create.drafts import Draft
from serving.jobs.record import JobRecord
from serving.jobs.traced import about
from serving.traces import spans
from serving.traces.context import parse
from serving.traces.spans import Attribute, Span, Traces


class CreateTrace:
    """Goes on with the trace that the client's `traceparent` names, or begins one."""

    def __init__(self, draft: Draft, tenant: str, traces: Traces, now_ms: Callable[[], int]) -> None:
        self._kind = draft.kind.value
        self._tenant = tenant
        self._traces = traces
        self._now_ms = now_ms
        self._parent = parse(draft.traceparent) if traces.on else None
        self._at = traces.begin(self._parent)
        self._began_ms = 0 if self._at is None else now_ms()

    @property
    def traceparent(self) -> str:
        """For the job's record; empty while nothing is traced."""
        return "" if self._at is None else self._at.traceparent

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of the create."""
        if self._at is None:
            yield
            return
        began, error = self._now_ms(), ""
        try:
            yield
        except LongtakeError as refused:
            error = refused.reason
            raise
        finally:
            span = Span(name, self._at.of(name), self._at.span_id, began, self._now_ms(), error=error)
            self._traces.tell(span)

    def made(self, record: JobRecord) -> None:
        """The create is answered with this job."""
        repeated = record.traceparent != self.traceparent
        self._ended({**about(record), spans.REPEATED: repeated}, "")

    def refused(self, error: LongtakeError) -> None:
        """No job was made."""
        self._ended({spans.TENANT: self._tenant, spans.ERROR_TYPE: error.reason}, error.reason)

    def _ended(self, told: dict[str, Attribute], error: str) -> None:
        if self._at is None:
            return
        operation = f"generate_{self._kind}"
        model = str(told.get(spans.REQUEST_MODEL, ""))
        self._traces.tell(
            Span(
                f"{operation} {model}".rstrip(),
                self._at,
                self._parent.span_id if self._parent else "",
                self._began_ms,
                self._now_ms(),
                {spans.OPERATION: operation, spans.PROVIDER: spans.LONGTAKE, spans.OUTPUT_TYPE: self._kind, **told},
                error=error,
                kind="server",
            )
        )
