"""A whole video as one virtual file: header and index are computed, the fragments are the stored blobs.

The front door serves any byte range of it. Nothing is copied, joined or rewritten when a video grows: the media bytes
of a video are, bit for bit, the first media bytes of its extension. An uploaded copy is recognised by the signed `uuid`
box in its header.

    ftyp | moov (with the whole duration) | uuid (video, manifest, signature) | sidx | moof mdat | moof mdat | ...
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Protocol

from serving.media.boxes import box as make_box
from serving.media.boxes import boxes, find, full_box, segment_index
from serving.media.track import TICKS_PER_FRAME, Track

_MARK = bytes.fromhex("6c6f6e6774616b65a1b84d0c9e5d4f21")
"""The extended type of our `uuid` box."""
_MOVIE_TIMESCALE_AT = 12
"""Offset of the timescale in a version-0 `mvhd`, behind version, flags and two times."""


class StoredMedia(Protocol):
    """One segment's media in the store: a blob of `moof`+`mdat` pairs."""

    @property
    def blob(self) -> str:
        """Its digest."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def frames(self) -> int:
        """Frames."""


@dataclass(frozen=True)
class BlobPiece:
    """A piece of a blob."""

    blob: str
    offset: int
    length: int


@dataclass(frozen=True)
class VirtualFile:
    """Bytes that are there (`header`), and the blobs behind them."""

    header: bytes
    blobs: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._ends[-1]

    def pieces(self, start: int, stop: int) -> Iterator[BlobPiece]:
        """What of the blobs lies between these bytes of the file, in order."""
        first = max(0, bisect_right(self._ends, start) - 1)
        for number in range(first, len(self.blobs)):
            at, end = self._ends[number], self._ends[number + 1]
            if at >= stop:
                return
            begin = max(start, at)
            yield BlobPiece(self.blobs[number], begin - at, min(stop, end) - begin)

    @cached_property
    def _ends(self) -> list[int]:
        """Where the header ends, and each blob."""
        return list(accumulate((len(self.header), *self.sizes)))


@dataclass(frozen=True)
class Mark:
    """What a signed box says: which video this is a copy of, up to which segment."""

    video: str
    manifest: str


def virtual_file(track: Track, init: bytes, parts: Sequence[StoredMedia], *, box: bytes = b"") -> VirtualFile:
    """The file of a video. `init` is the track's `ftyp`+`moov`, `box` what `signed_box` made."""
    frames = sum(part.frames for part in parts)
    # One index entry a segment: each starts with a keyframe.
    references = [(part.size, part.frames * TICKS_PER_FRAME, True) for part in parts]
    index = segment_index(references, timescale=track.timescale)
    header = _with_duration(init, frames, track) + box + index
    return VirtualFile(header, tuple(part.blob for part in parts), tuple(part.size for part in parts))


def signed_box(video: str, manifest: str, key: bytes) -> bytes:
    """A `uuid` box that names video and manifest, with an HMAC-SHA256 that only this installation can make."""
    said = json.dumps({"video": video, "manifest": manifest}, sort_keys=True).encode()
    return make_box(b"uuid", _MARK, _signature(said, key), said)


def read_signed_box(data: bytes, key: bytes) -> Mark | None:
    """The mark in the head of an MP4 file (its first 64 KiB are enough); None without one, or with a forged one."""
    try:
        for found in boxes(data):
            if found.type == b"uuid" and found.payload.startswith(_MARK):
                signature, said = found.payload[16:48], found.payload[48:]
                if not hmac.compare_digest(signature, _signature(said, key)):
                    return None
                return Mark(**json.loads(said))
    except ValueError:  # the data ends within a box, or is no MP4
        return None
    return None


def _signature(said: bytes, key: bytes) -> bytes:
    return hmac.new(key, b"longtake media mark\0" + said, hashlib.sha256).digest()


def _with_duration(init: bytes, frames: int, track: Track) -> bytes:
    """The `ftyp`+`moov` with an `mehd` that tells the length of all fragments."""
    out = b""
    for outer in boxes(init):
        if outer.type != b"moov":
            out += outer.encode()
            continue
        mvhd = find(outer.payload, b"mvhd")
        if mvhd is None:
            raise ValueError("a moov without mvhd")
        (timescale,) = struct.unpack_from(">I", mvhd.payload, _MOVIE_TIMESCALE_AT)
        duration = frames * timescale // track.fps
        mehd = full_box(b"mehd", 1, 0, struct.pack(">Q", duration))
        inner = (
            make_box(b"mvex", mehd, child.payload) if child.type == b"mvex" else child.encode()
            for child in boxes(outer.payload)
        )
        out += make_box(b"moov", *inner)
    return out
