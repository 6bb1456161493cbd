"""Whether this process traces, by OpenTelemetry's own variables. The front door and the Director's replica ask once.

Off unless `OTEL_TRACES_EXPORTER` is `otlp`, and then nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.errors import SettingsError
from serving.metrics import Recorder
from serving.traces.spans import UNTRACED, Traces

_EXPORTER = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""The first one that is set counts."""
_PROTOCOL = "http/protobuf"


def open_traces(service: str, metrics: Recorder, environment: Mapping[str, str]) -> Traces:
    """Where this process's spans go. `service` names it, unless `OTEL_SERVICE_NAME` does.

    Raises `SettingsError` for what the variables ask and Longtake does not do, and where the packages are missing.
    """
    wanted = environment.get(_EXPORTER, "").strip().lower() or "none"
    if wanted == "none" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return UNTRACED
    if wanted != "otlp":
        raise SettingsError(f"{_EXPORTER} is {wanted!r}: Longtake sends traces by `otlp`; set it to that, or to `none`")
    for name in _PROTOCOLS:
        if said := environment.get(name, "").strip():
            if said != _PROTOCOL:
                raise SettingsError(
                    f"{name} is {said!r}: set it to `{_PROTOCOL}`, and the endpoint to the port for HTTP"
                )
            break
    try:
        from serving.traces.sdk import SdkTraces, otlp

        return SdkTraces(otlp(), service=service, metrics=metrics, environment=environment)
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"{_EXPORTER} asks for traces, and {missing.name} is not installed: pip install 'longtake[traces]', or set "
            "it to `none`"
        ) from missing
    except ValueError as wrong:
        raise SettingsError(f"one of the OTEL_... variables is wrong: {wrong}") from wrong
