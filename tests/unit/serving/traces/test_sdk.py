"""What reaches OpenTelemetry's SDK and its exporter: the ids that were told, what is sampled, and what is dropped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.traces import sdk
from serving.traces.context import TraceContext, parse
from serving.traces.sdk import SdkTraces
from serving.traces.spans import Span
from serving.traces.switch import open_traces
from tests.unit.serving.traces.collector import collecting

CALLER = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
UNKEPT = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
AT = TraceContext("1" * 32, "2" * 16, sampled=True)


def traces_to(exporter: SpanExporter, metrics: PrometheusRecorder | None = None, **environment: str) -> SdkTraces:
    return SdkTraces(exporter, service="test", metrics=metrics or PrometheusRecorder(), environment=environment)


def dropped(metrics: PrometheusRecorder) -> float:
    [line] = [
        line for line in metrics.render().decode().splitlines() if line.startswith("longtake_spans_dropped_total")
    ]
    return float(line.split()[1])


def span(at: TraceContext = AT, **fields: Any) -> Span:
    return Span("segment", at, **{"parent": "3" * 16, "start_ms": 1_000, "end_ms": 3_500, **fields})


def test_a_span_is_exported_as_it_was_told() -> None:
    exporter = InMemorySpanExporter()
    traces = traces_to(exporter)
    traces.tell(span(attributes={"longtake.segment": 4}, links=(AT.of("before"),), error="lost"))
    traces.tell(span(at=AT.of("root"), parent=""))
    traces.close()

    told, root = exporter.get_finished_spans()
    assert (told.name, told.start_time, told.end_time) == ("segment", 1_000_000_000, 3_500_000_000)
    assert told.context is not None
    assert told.parent is not None
    assert (f"{told.context.trace_id:032x}", f"{told.context.span_id:016x}") == (AT.trace_id, AT.span_id)
    assert f"{told.parent.span_id:016x}" == "3" * 16
    assert dict(told.attributes or {}) == {"longtake.segment": 4}
    assert [f"{link.context.span_id:016x}" for link in told.links] == [AT.of("before").span_id]
    assert (told.status.status_code.name, told.status.description) == ("ERROR", "lost")
    assert root.parent is None
    assert root.context is not None
    assert (f"{root.context.trace_id:032x}", f"{root.context.span_id:016x}") == (AT.trace_id, AT.of("root").span_id)
    assert told.resource.attributes["service.name"] == "test"


def test_no_span_ends_before_it_began_though_clocks_differ() -> None:
    exporter = InMemorySpanExporter()
    traces = traces_to(exporter)
    traces.tell(span(start_ms=3_000, end_ms=1_000))
    traces.close()
    [told] = exporter.get_finished_spans()
    assert told.start_time == told.end_time == 3_000_000_000


def test_a_callers_trace_is_gone_on_with_and_its_word_on_sampling_kept() -> None:
    traces = traces_to(InMemorySpanExporter())
    assert CALLER is not None
    kept, unkept, new = traces.begin(CALLER), traces.begin(UNKEPT), traces.begin(None)
    traces.close()

    assert (kept.trace_id, kept.sampled, kept.span_id != CALLER.span_id) == (CALLER.trace_id, True, True)
    assert (unkept.trace_id, unkept.sampled) == (CALLER.trace_id, False)
    assert (new.sampled, new.trace_id != CALLER.trace_id) == (True, True)
    assert parse(new.traceparent) == new


def test_without_a_caller_the_setting_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    exporter = InMemorySpanExporter()
    traces = traces_to(exporter)
    begun = traces.begin(None)
    traces.tell(span(at=begun))
    assert traces.begin(CALLER).sampled
    traces.close()

    assert not begun.sampled
    assert exporter.get_finished_spans() == ()


class Stuck(SpanExporter):
    """Takes a batch and does not return before it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.let_go.wait(30)
        self.spans += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is held."""


def test_what_waits_is_bounded_and_what_is_too_many_is_counted() -> None:
    exporter, metrics = Stuck(), PrometheusRecorder()
    traces = traces_to(exporter, metrics, OTEL_BSP_MAX_QUEUE_SIZE="1000")
    for number in range(1_500):
        traces.tell(span(at=AT.of(number)))
    assert dropped(metrics) == 500
    exporter.let_go.set()
    traces.close()
    assert exporter.spans == 1_000


def test_a_collector_that_is_stuck_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "CLOSE_S", 0.05)
    exporter = Stuck()
    traces = traces_to(exporter)
    traces.tell(span())
    closing = threading.Thread(target=traces.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    assert exporter.spans == 0
    exporter.let_go.set()


def test_a_dead_collector_costs_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "CLOSE_S", 0.05)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        metrics = PrometheusRecorder()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            traces = open_traces("test", metrics, {"OTEL_TRACES_EXPORTER": "otlp"})
        traces.tell(span())
        traces.tell(span(at=AT.of("another")))
        traces.close()
    assert dropped(metrics) == 2


def test_spans_reach_a_collector_over_http() -> None:
    with collecting() as collector, pytest.MonkeyPatch.context() as environment:
        for name, value in collector.variables().items():
            environment.setenv(name, value)
        traces = open_traces("longtake-test", PrometheusRecorder(), collector.variables())
        traces.tell(span())
        traces.close()

        [told] = collector.spans
        [resource] = [found.resource for asked in collector.requests for found in asked.resource_spans]
    assert (told.trace_id.hex(), told.span_id.hex(), told.parent_span_id.hex()) == (AT.trace_id, AT.span_id, "3" * 16)
    assert {pair.key: pair.value.string_value for pair in resource.attributes}["service.name"] == "longtake-test"
