"""The table of metrics: what Prometheus asks of names, and what its recorders refuse."""

from __future__ import annotations

import pytest

from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.metrics import FRONT_DOOR, REPLICAS, RPC_HANDLED, RPC_SECONDS, RPC_STREAMS, Metric

ALL = (*FRONT_DOOR, *REPLICAS)


def test_no_name_stands_twice() -> None:
    assert len({metric.name for metric in ALL}) == len(set(ALL))


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_names_units_and_help(metric: Metric) -> None:
    assert metric.name.startswith("longtake_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)
    assert metric.help.endswith(".")


def test_recordings_show_in_the_text() -> None:
    recorder = PrometheusRecorder()
    recorder.add(RPC_HANDLED, method="/a", code="OK")
    recorder.shift(RPC_STREAMS, 2, method="/a")
    recorder.shift(RPC_STREAMS, -1, method="/a")
    recorder.observe(RPC_SECONDS, 0.002, method="/a")

    text = recorder.render().decode()

    assert 'longtake_rpc_handled_total{code="OK",method="/a"} 1.0' in text
    assert 'longtake_rpc_streams{method="/a"} 1.0' in text
    assert 'longtake_rpc_seconds_bucket{le="0.0025",method="/a"} 1.0' in text


@pytest.mark.parametrize("labels", [{}, {"method": "/a"}, {"method": "/a", "code": "OK", "user": "x"}])
def test_a_label_that_is_missing_or_unknown_is_an_error(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="takes the labels"):
        PrometheusRecorder().add(RPC_HANDLED, **labels)
