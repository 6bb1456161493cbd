"""Our milliseconds as the wires' times, and the wires' times as our milliseconds. All surfaces use it."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from serving.errors import InvalidArgument

_NANOS = 1_000_000_000
_LONGEST_S = 315_576_000_000
"""About 10,000 years: what a Duration may hold."""


def timestamp(moment_ms: int) -> Timestamp:
    """Milliseconds since 1970 UTC as a Timestamp."""
    return Timestamp(seconds=moment_ms // 1000, nanos=moment_ms % 1000 * 1_000_000)


def moment_ms(given: Timestamp, field: str) -> int:
    """A client's Timestamp as milliseconds since 1970 UTC. Raises `InvalidArgument` that names the field."""
    try:
        return given.ToMilliseconds()
    except ValueError as error:
        raise InvalidArgument(
            field, "it is no Timestamp: `seconds` are of the years 1 to 9999, `nanos` 0 to 999999999"
        ) from error


def length_ms(given: Duration, field: str) -> int:
    """A client's Duration as milliseconds. Raises `InvalidArgument` that names the field."""
    if abs(given.seconds) > _LONGEST_S or abs(given.nanos) >= _NANOS or given.seconds * given.nanos < 0:
        raise InvalidArgument(
            field, f"it is no Duration: at most {_LONGEST_S} `seconds`, and less than a second of `nanos` of their sign"
        )
    return given.ToMilliseconds()
