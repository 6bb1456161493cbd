"""Binds the table of metrics to prometheus_client. `server.py` makes one per front door, and `/metrics` shows it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from serving.metrics import FRONT_DOOR, Metric, label_values


class PrometheusRecorder:
    """A `Recorder` over a registry of its own, so that two servers in one process do not meet."""

    def __init__(self, metrics: tuple[Metric, ...] = FRONT_DOOR) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, CPU, open files and how many there may be
        self._counters = {
            m: Counter(m.name, m.help, m.labels, registry=self._registry) for m in metrics if m.kind == "counter"
        }
        self._gauges = {
            m: Gauge(m.name, m.help, m.labels, registry=self._registry) for m in metrics if m.kind == "gauge"
        }
        self._histograms = {
            m: Histogram(m.name, m.help, m.labels, registry=self._registry, buckets=m.buckets)
            for m in metrics
            if m.kind == "histogram"
        }

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Raise a counter."""
        counter = self._counters[metric]
        (counter.labels(*label_values(metric, labels)) if metric.labels else counter).inc(amount)

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges[metric]
        (gauge.labels(*label_values(metric, labels)) if metric.labels else gauge).set(value)

    def shift(self, metric: Metric, amount: float, /, **labels: str) -> None:
        """Move a gauge up or down."""
        self._gauges[metric].labels(*label_values(metric, labels)).inc(amount)

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Put a value into a histogram."""
        histogram = self._histograms[metric]
        (histogram.labels(*label_values(metric, labels)) if metric.labels else histogram).observe(value)

    def bound_counter(self, metric: Metric, **labels: str) -> Counter:
        """One child of a counter, for paths that cannot afford the lookup."""
        return self._counters[metric].labels(*label_values(metric, labels))

    def bound_histogram(self, metric: Metric, **labels: str) -> Histogram:
        """One child of a histogram, for paths that cannot afford the lookup."""
        return self._histograms[metric].labels(*label_values(metric, labels))

    def render(self) -> bytes:
        """The registry in Prometheus' text format."""
        return generate_latest(self._registry)
