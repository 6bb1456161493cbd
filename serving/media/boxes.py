"""Reading and writing the boxes of ISO base media files (ISO/IEC 14496-12), as far as fragmented MP4 needs.

`encode.py` writes fragments with it, `virtual.py` the header and index of a whole video. Sizes are bytes, times are
ticks of the track's timescale.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SYNC_SAMPLE = 0x0200_0000
_DEPENDENT_SAMPLE = 0x0101_0000


@dataclass(frozen=True)
class Box:
    """One box: its four-letter type and its payload."""

    type: bytes
    payload: bytes

    def encode(self) -> bytes:
        """The whole box."""
        return box(self.type, self.payload)


def box(kind: bytes, *payload: bytes) -> bytes:
    """A box around these payloads."""
    body = b"".join(payload)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, *payload: bytes) -> bytes:
    """A box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *payload)


def boxes(data: bytes) -> Iterator[Box]:
    """The boxes that lie side by side in `data`. Raises `ValueError` for bytes that are none."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("a box is cut off in its head")
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            if len(data) - at < 16:
                raise ValueError("a box is cut off in its head")
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif size == 0:
            size = len(data) - at
        if size < head or at + size > len(data):
            raise ValueError(f"box {kind!r} has an impossible size")
        yield Box(kind, data[at + head : at + size])
        at += size


def find(data: bytes, *path: bytes) -> Box | None:
    """The first box along a path of nested types, or None."""
    for found in boxes(data):
        if found.type == path[0]:
            return found if len(path) == 1 else find(found.payload, *path[1:])
    return None


@dataclass(frozen=True)
class Sample:
    """One encoded frame."""

    data: bytes
    keyframe: bool


def fragment(samples: Sequence[Sample], *, sequence: int, decode_time: int, duration: int) -> bytes:
    """`moof` + `mdat` of these samples, each `duration` ticks long, the first at `decode_time`."""

    def moof(data_offset: int) -> bytes:
        entries = b"".join(
            struct.pack(">II", len(s.data), _SYNC_SAMPLE if s.keyframe else _DEPENDENT_SAMPLE) for s in samples
        )
        return box(
            b"moof",
            full_box(b"mfhd", 0, 0, struct.pack(">I", sequence)),
            box(
                b"traf",
                # default-base-is-moof, default-sample-duration
                full_box(b"tfhd", 0, 0x020008, struct.pack(">II", 1, duration)),
                full_box(b"tfdt", 1, 0, struct.pack(">Q", decode_time)),
                # data-offset, sample-size, sample-flags
                full_box(b"trun", 0, 0x000601, struct.pack(">Ii", len(samples), data_offset), entries),
            ),
        )

    head = moof(len(moof(0)) + 8)
    return head + box(b"mdat", *(s.data for s in samples))


def segment_index(references: Sequence[tuple[int, int, bool]], *, timescale: int, offset: int = 0) -> bytes:
    """`sidx` over (size, duration, starts with a keyframe) of each part; the first part lies `offset` behind it."""
    entries = b"".join(
        struct.pack(">III", size, duration, (1 << 31 | 1 << 28) if key else 0) for size, duration, key in references
    )
    return full_box(b"sidx", 1, 0, struct.pack(">IIQQHH", 1, timescale, 0, offset, 0, len(references)), entries)
