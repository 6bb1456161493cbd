"""The form of every record: frozen, and strict about its fields.

Records, requests, messages between processes and groups of settings are made of it. What lies in the store may be of
a later version, for an upgrade has old and new processes on one store, and may be taken back: `Stored`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hex."""

_LAST = 10**14 - 2
Moment = Annotated[int, Field(ge=0, le=_LAST)]
"""Milliseconds since 1970 UTC, as far as keys have room for them (`store/keys.py`): to the year 5138."""


def _within_reach(value: object) -> object:
    return min(max(value, 0), _LAST) if type(value) is int else value


ToldMoment = Annotated[int, BeforeValidator(_within_reach)]
"""As `Moment`, of which no key is made. What lies further away, as an earlier version let it, is read as the end of
that time: one such value must not keep a record from being read.
"""


class Frozen(BaseModel):
    """A record that never changes and that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(Frozen):
    """A record in the store, or a part of one. What a later version wrote there is read, and kept by whoever writes the
    record again.

    An unknown field that is empty (null, false, 0, no text, no list) says what a record without it says.
    """

    model_config = ConfigDict(extra="allow")

    def unknown(self) -> Iterator[str]:
        """Names of the fields that say something and that this version does not know, of its parts too (`plan.way`)."""
        for name, value in (self.model_extra or {}).items():
            if value:
                yield name
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Stored):
                    yield from (f"{name}.{inner}" for inner in part.unknown())


def what_is_wrong(error: ValidationError) -> str:
    """With a record that cannot be read: the first field that is wrong, and how, in a line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
