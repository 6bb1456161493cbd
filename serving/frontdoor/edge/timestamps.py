"""Our milliseconds as the wires' timestamps. All surfaces use it."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment_ms: int) -> Timestamp:
    """Milliseconds since 1970 UTC as a Timestamp."""
    return Timestamp(seconds=moment_ms // 1000, nanos=moment_ms % 1000 * 1_000_000)
