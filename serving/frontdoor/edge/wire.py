"""How many fields a message has, counted on its bytes before it is parsed. `messages.py` asks.

Parsed, an empty submessage takes fifty times the two bytes that it has on the wire, so 20 MB can become a gigabyte.
Counting stops at the bound, and what cannot be read counts as nothing: the parser says what is wrong with it.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_MOST_DEPTH = 32


class _Enough(Exception):
    """There are more than the bound."""


def has_more_fields(data: bytes, message: Descriptor, most: int) -> bool:
    """Whether the message, with all that lies in it, has more than `most` fields; each element of a list is one."""
    try:
        _count(memoryview(data), message, most, _MOST_DEPTH)
    except _Enough:
        return True
    except (IndexError, ValueError):  # no message: left to the parser
        return False
    return False


def _count(data: memoryview, message: Descriptor | None, left: int, depth: int) -> int:
    """Fields that may still come. Raises `_Enough`, and `IndexError` or `ValueError` for bytes that are no message."""
    at = 0
    while at < len(data):
        left -= 1
        if left < 0:
            raise _Enough
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                size, at = _varint(data, at)
                inner = _inner(message, tag >> 3)
                if inner is not None and depth:
                    left = _count(data[at : at + size], inner, left, depth - 1)
                at += size
            case 3 | 4:  # the brackets of a group: what is inside is counted as if it lay here
                pass
            case _:
                raise ValueError("no wire type")
    return left


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _inner(message: Descriptor | None, number: int) -> Descriptor | None:
    field: FieldDescriptor | None = message.fields_by_number.get(number) if message else None
    return field.message_type if field is not None else None
