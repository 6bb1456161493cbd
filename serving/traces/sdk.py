"""Hands spans to OpenTelemetry's SDK. `switch.py` alone imports it, when traces are asked for.

The SDK samples, batches and sends, in a thread of its own. What it is given is bounded here, so that every span that is
not sent is counted: a collector that is away costs a counter and a line in the log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision

from serving.logs import logger
from serving.metrics import SPANS_DROPPED, Recorder
from serving.traces.context import TraceContext
from serving.traces.spans import Span

CLOSE_S = 2.0
"""Longest that the end of a process waits for spans to be sent."""
_GIVE_UP_S = 0.5
"""And after that, for the exporter to give up."""
_QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE"
_MOST = 2048
"""Spans that wait at most, where the variable says nothing: the SDK's own default."""
_KINDS = {"server": trace.SpanKind.SERVER, "internal": trace.SpanKind.INTERNAL}

_log = logger("traces")


def otlp() -> SpanExporter:
    """The exporter over HTTP, as the variables have it. Raises `ModuleNotFoundError`, `ValueError`."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    # It tells of every batch that is not taken; `_Counted` says so once.
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)
    exporter: SpanExporter = OTLPSpanExporter()
    return exporter


class SdkTraces:
    """Implements `serving.traces.spans.Traces`. May be told from any thread."""

    on = True

    def __init__(
        self, exporter: SpanExporter, *, service: str, metrics: Recorder, environment: Mapping[str, str]
    ) -> None:
        """`service`: the process, where the variables do not name it. Raises `ValueError` for a variable that is no
        number."""
        self._most = int(environment.get(_QUEUE) or _MOST)
        self._counted = _Counted(exporter, metrics)
        self._ids = _GivenIds()
        self._random = RandomIdGenerator()
        self._telling = threading.Lock()
        named = environment.get("OTEL_SERVICE_NAME") or SERVICE_NAME in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
        self._provider = TracerProvider(
            resource=Resource.create({} if named else {SERVICE_NAME: service}),
            id_generator=self._ids,
            shutdown_on_exit=False,  # that would wait for half a minute
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._counted, max_queue_size=self._most))
        self._tracer = self._provider.get_tracer("longtake")

    def begin(self, parent: TraceContext | None) -> TraceContext:
        """See `Traces`. The variables' sampler decides whether the trace is kept."""
        number = int(parent.trace_id, 16) if parent else self._random.generate_trace_id()
        sampled = self._provider.sampler.should_sample(_below(parent), number, "create")
        kept = sampled.decision is Decision.RECORD_AND_SAMPLE
        return TraceContext(f"{number:032x}", f"{self._random.generate_span_id():016x}", kept)

    def tell(self, span: Span) -> None:
        """See `Traces`."""
        if not span.at.sampled:
            return
        parent = TraceContext(span.at.trace_id, span.parent, sampled=True) if span.parent else None
        with self._telling:
            self._ids.next = span.at
            told = self._tracer.start_span(
                span.name,
                context=_below(parent),
                kind=_KINDS[span.kind],
                attributes=span.attributes,
                links=[trace.Link(_sdk_context(link)) for link in span.links],
                start_time=span.start_ms * 1_000_000,
            )
        if not told.get_span_context().trace_flags.sampled:
            return
        if span.error:
            told.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
        if self._counted.takes(self._most):
            told.end(max(span.start_ms, span.end_ms) * 1_000_000)  # of two machines' clocks

    def close(self) -> None:
        """See `Traces`: hardly longer than `CLOSE_S`."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces end", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            self._counted.shutdown()
            closing.join(_GIVE_UP_S)
        if self._counted.waiting:
            _log.warning("spans were not sent before the end", spans=self._counted.waiting)


class _GivenIds(RandomIdGenerator):
    """Gives the next span the ids that it is told with."""

    def __init__(self) -> None:
        self.next = TraceContext("", "", sampled=False)

    def generate_span_id(self) -> int:
        return int(self.next.span_id, 16)

    def generate_trace_id(self) -> int:
        return int(self.next.trace_id, 16)


class _Counted(SpanExporter):
    """Counts what waits, and what is dropped."""

    def __init__(self, exporter: SpanExporter, metrics: Recorder) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._lock = threading.Lock()
        self._failing = False
        self.waiting = 0
        """Spans that were taken and neither sent nor dropped."""

    def takes(self, most: int) -> bool:
        """Whether there is room for one more; it is counted as dropped where there is none."""
        with self._lock:
            room = self.waiting < most
            self.waiting += room
        if not room:
            self._metrics.add(SPANS_DROPPED)
        return room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; called in the SDK's thread."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  (the edge of that thread)
            _log.error("spans could not be sent", exc_info=error)
            result = SpanExportResult.FAILURE
        with self._lock:
            self.waiting -= len(spans)
        self._note(len(spans), failed=result is not SpanExportResult.SUCCESS)
        return result

    def _note(self, spans: int, *, failed: bool) -> None:
        if failed:
            self._metrics.add(SPANS_DROPPED, spans)
        if failed and not self._failing:
            _log.warning(
                "spans are dropped: nothing takes them at OTEL_EXPORTER_OTLP_ENDPOINT; longtake_spans_dropped_total "
                "counts them"
            )
        elif self._failing and not failed:
            _log.info("spans are taken again")
        self._failing = failed

    def shutdown(self) -> None:
        """No more of them."""
        self._exporter.shutdown()


def _below(parent: TraceContext | None) -> Context:
    """The SDK's word for it; of a caller that is elsewhere. Without a parent nothing of this thread counts either."""
    if parent is None:
        return Context()
    return trace.set_span_in_context(trace.NonRecordingSpan(_sdk_context(parent)), Context())


def _sdk_context(at: TraceContext) -> trace.SpanContext:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if at.sampled else trace.TraceFlags.DEFAULT)
    return trace.SpanContext(int(at.trace_id, 16), int(at.span_id, 16), is_remote=True, trace_flags=flags)
