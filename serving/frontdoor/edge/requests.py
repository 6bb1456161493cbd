"""What comes in is a message that its method can read: its bytes are one, and no enum holds an unknown number.

`messages.py` has a `Reader` for each method. gRPC would answer bytes that are no message by itself, without a word; and
protobuf takes any number for an enum, which would then mean nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from serving.errors import InvalidArgument

_LOOKED_AT = 64
"""Items of a list. A longer one is refused by its surface."""


@dataclass(frozen=True)
class _EnumField:
    """A field that is an enum, or a message that leads to some."""

    field: FieldDescriptor
    below: tuple[_EnumField, ...]


@dataclass(frozen=True)
class Unreadable:
    """Bytes that are no such message."""

    why: str


class Reader:
    """Reads the requests of one method."""

    def __init__(self, kind: type[Message]) -> None:
        self._kind = kind
        self._enums = _enums_of(kind.DESCRIPTOR, ())

    def parse(self, data: bytes) -> Message | Unreadable:
        """The message, unchecked."""
        try:
            return self._kind.FromString(data)
        except DecodeError as error:
            return Unreadable(str(error))

    def checked(self, request: Message | Unreadable) -> Any:
        """The message. Raises `InvalidArgument`."""
        if isinstance(request, Unreadable):
            name = self._kind.DESCRIPTOR.name
            raise InvalidArgument("request", f"its bytes are no {name}: texts must be UTF-8 ({request.why})")
        _check(request, self._enums, "")
        return request


def _enums_of(kind: Any, above: tuple[Any, ...]) -> tuple[_EnumField, ...]:
    """What of a message's descriptor leads to enums; a message that holds its own kind is looked at once."""
    found = []
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_ENUM:
            found.append(_EnumField(field, ()))
        elif field.message_type is not None and field.message_type not in (*above, kind):
            below = _enums_of(field.message_type, (*above, kind))
            if below:
                found.append(_EnumField(field, below))
    return tuple(found)


def _check(message: Message, enums: tuple[_EnumField, ...], at: str) -> None:
    for one in enums:
        name = one.field.name
        if one.field.is_repeated:
            values = [(f"{at}{name}[{n}]", value) for n, value in enumerate(getattr(message, name)[:_LOOKED_AT])]
        elif one.field.has_presence and not message.HasField(name):
            continue
        else:
            values = [(at + name, getattr(message, name))]
        for where, value in values:
            if one.below:
                _check(value, one.below, f"{where}.")
            elif one.field.enum_type is not None and value not in one.field.enum_type.values_by_number:
                known = ", ".join(one.field.enum_type.values_by_name)
                raise InvalidArgument(where, f"{value} is no value that this server knows; it knows {known}")
