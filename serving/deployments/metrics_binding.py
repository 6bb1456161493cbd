"""Binds the table of metrics to Ray's, so that replicas are scraped with the rest of the cluster."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from serving.metrics import REPLICAS, Metric, label_values


class RayRecorder:
    """A `Recorder` for one replica. Metrics are made at their first use: Ray exports every one that exists."""

    def __init__(self) -> None:
        self._made: dict[Metric, Counter | Gauge | Histogram] = {}

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Raise a counter."""
        counter = self._get(metric)
        assert isinstance(counter, Counter)
        if amount != 0:  # Ray refuses to add nothing
            counter.inc(amount, tags=_tags(metric, labels))

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._get(metric)
        assert isinstance(gauge, Gauge)
        gauge.set(value, tags=_tags(metric, labels))

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Put a value into a histogram."""
        histogram = self._get(metric)
        assert isinstance(histogram, Histogram)
        histogram.observe(value, tags=_tags(metric, labels))

    def _get(self, metric: Metric) -> Counter | Gauge | Histogram:
        if metric not in self._made:
            self._made[metric] = _make(metric)
        return self._made[metric]


def _make(metric: Metric) -> Counter | Gauge | Histogram:
    if metric not in REPLICAS:
        raise ValueError(f"{metric.name} is not a metric of the replicas: add it to `serving/metrics.py`")
    if metric.kind == "counter":
        # Ray appends `_total` by itself.
        return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, metric.labels)
    return Histogram(metric.name, metric.help, list(metric.buckets), metric.labels)


def _tags(metric: Metric, labels: dict[str, str]) -> dict[str, str]:
    return dict(zip(metric.labels, label_values(metric, labels), strict=True))
