"""Unpacks gzip and deflate that come in pieces. `fetch.py` calls it."""

from __future__ import annotations

import zlib

_ANY_HEADER = 47
"""For zlib: gzip's or its own, whichever comes."""
_MOST_MEMBERS = 4096
"""Each costs time, even where nothing is in it. 128 MiB in blocks of 64 KiB, as some programs write them, are fewer."""


class Unpacking:
    """Of one answer. It may be of several gzip files in a row, its members: what is in them makes one."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=_ANY_HEADER)
        self._members = 1

    @property
    def whole(self) -> bool:
        """Whether it may end here."""
        return self._member.eof

    def of(self, piece: bytes, most: int) -> bytes:
        """What is in the next piece, or `most` bytes of it, after which no more is to come. Raises `zlib.error`."""
        found = bytearray()
        while piece and len(found) < most:
            if self._member.eof:
                piece = piece.lstrip(b"\0")  # some fill up to a whole block
                if not piece:
                    break
                self._begin()
            found += self._member.decompress(piece, most - len(found))
            piece = self._member.unused_data
        return bytes(found)

    def _begin(self) -> None:
        if self._members == _MOST_MEMBERS:
            raise zlib.error("too many members")
        self._members += 1
        self._member = zlib.decompressobj(wbits=_ANY_HEADER)
