"""Our milliseconds as the wires' times, and the wires' times as our milliseconds. All surfaces use it.

What is stored may lie beyond what a wire has room for, whoever wrote it: then the nearest that it has is told, for one
such number must not keep the rest from being told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from serving.errors import InvalidArgument

M = TypeVar("M", bound=Message)

_NANOS = 1_000_000_000
_LONGEST_S = 315_576_000_000
"""About 10,000 years: what a Duration may hold."""
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""What a Timestamp may hold."""
_ROOM: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def fitting(message: type[M], /, **fields: Any) -> M:
    """A message with these fields, numbers as near as its fields have room for."""
    of = message.DESCRIPTOR.fields_by_name
    return message(**{name: _fit(of[name], value) for name, value in fields.items()})


def _fit(field: Any, value: Any) -> Any:
    room = None if field.is_repeated else _ROOM.get(field.cpp_type)
    return value if room is None or value is None else min(max(value, room[0]), room[1])


def timestamp(moment_ms: int) -> Timestamp:
    """Milliseconds since 1970 UTC as a Timestamp; of the years 1 to 9999."""
    moment_ms = min(max(moment_ms, _FIRST_MS), _LAST_MS)
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
