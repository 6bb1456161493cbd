"""When a process traces, what it then needs, and that it is free when it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from serving.errors import SettingsError
from serving.metrics import Unrecorded
from serving.traces.spans import UNTRACED
from serving.traces.switch import open_traces


def opened(**environment: str) -> object:
    return open_traces("test", Unrecorded(), environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": ""},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    ],
)
def test_nothing_is_traced_that_nobody_asks_for(environment: dict[str, str]) -> None:
    assert opened(**environment) is UNTRACED


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'.*`otlp`"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'.*`http/protobuf`",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'http/json'",
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_... variables is wrong.*many"),
    ],
)
def test_what_longtake_does_not_do_is_refused_by_the_variables_name(environment: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        opened(**environment)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'longtake\[traces\]'"):
        opened(OTEL_TRACES_EXPORTER="otlp")


PROGRAM = """
import json, sys, threading
import serving.frontdoor.server, serving.director.director
from serving.metrics import Unrecorded
from serving.traces.switch import open_traces
open_traces("test", Unrecorded(), {})
threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("Otel")]
print(json.dumps([name for name in sys.modules if name.startswith("opentelemetry")] + threads))
"""


def test_a_process_that_does_not_trace_imports_nothing_of_opentelemetry() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert json.loads(result.stdout) == []
