"""HTTP byte ranges (RFC 9110, section 14): one range per request. Pure; `routes.py` asks."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """Bytes of a file, `start` to `stop` (not included)."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Bytes in it."""
        return self.stop - self.start


class Unsatisfiable(Exception):
    """The range lies beyond the file: 416."""


def wanted_range(size: int, *, range_header: str | None, if_range: str | None, etag: str) -> ByteRange | None:
    """The part that is asked for; None for the whole file. Raises `Unsatisfiable`.

    A header that cannot be read, several ranges, or an `If-Range` that names another state of the file ask for the
    whole file, as the RFC allows and wants.
    """
    if range_header is None or (if_range is not None and if_range.strip() != etag):
        return None
    match = _ONE_RANGE.fullmatch(range_header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        wanted = min(int(match[2]), size)
        if wanted == 0:
            raise Unsatisfiable
        return ByteRange(size - wanted, size)
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return ByteRange(start, min(int(match[2]) + 1, size) if match[2] else size)


def names_etag(if_none_match: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` header names this state of the file."""
    if if_none_match is None:
        return False
    names = [name.strip().removeprefix("W/") for name in if_none_match.split(",")]
    return "*" in names or etag in names
