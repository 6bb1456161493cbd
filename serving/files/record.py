"""The record of a file: what `repository.py` swaps in the store, and what the collector reads of it."""

from __future__ import annotations

import re

from serving.errors import InvalidArgument
from serving.frozen import Digest, Moment, Stored, ToldMoment

_BAD_NAME = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029\"';\\]")


class PublicUrl(Stored):
    """That anyone may read a file who has this token."""

    token: str
    expires_ms: ToldMoment | None


class FileRecord(Stored):
    """One file. Times are milliseconds since 1970 UTC."""

    id: str
    tenant: str
    filename: str
    size: int
    content_type: str
    sha256: Digest | None
    """Its blob; None when the file stands for a video."""
    created_ms: Moment
    expires_ms: ToldMoment | None = None
    video: str | None = None
    """The finished video that it stands for."""
    public: PublicUrl | None = None
    deleted: bool = False
    version: int = 0
    nonce: str = ""


def check_filename(filename: str) -> None:
    """Raises `InvalidArgument` for a name that headers and other systems could misread."""
    if not filename or len(filename) > 255 or _BAD_NAME.search(filename):
        raise InvalidArgument(
            "filename",
            "it takes 1 to 255 characters, none of them a control character, quote, semicolon or backslash",
        )
