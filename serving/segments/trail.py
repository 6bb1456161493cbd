"""A manifest's trail: the segments just before its own, with what lineage and film need of each.

A trail grows by a line with every segment. When it is full, the next one begins anew, with the line of the segment
that has the full one; so a path is read from one full trail to the one before, and an hour in less than a hundred
reads. Nothing is written or read for it beside the manifest, which is never more than 4 kB larger for it, however long
the video is. `manifest.py` keeps it, `lineage.py` follows it.

    manifest: lines of 9 segments ──first──▶ manifest: lines of 37 ──first──▶ manifest: lines of 37 ──▶ … root
                                  ╰─────────────────── rung ───────────────────────────────────────╯

Rungs lead further back, so any place of a path is reached in some ten steps. They are those of a binary counter: full
trail number 0b1101 has rungs to 0b1100, 0b1000 and 0.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from pydantic import Field

from serving.frozen import Stored

SEGMENTS = 37
"""Of a full trail: 3,600 segments are then read in 98 reads, and a full one is less than a tenth of what the making of
a small segment writes."""
PROMPT_BYTES = 512
"""Of the captions that a trail holds as they are, for the same reason. One may be longer, if it is the only one."""
SQUEEZED_BYTES = 2048
"""Of the others, squeezed: captions of one video are much alike."""
_LINE = struct.Struct(">32s32s17sIHB")
_RUNG = struct.Struct(">32sI")
_INGESTED, _UNTOLD = 0x80, 0x7F
_ID_PREFIX, _ID_LENGTH, _ID_BYTES = "vid_", 26, 17
_TEXT_LENGTH = 32
"""Base32 comes in groups of eight characters, which are five bytes."""


@dataclass(frozen=True)
class Told:
    """Who made a segment, with which caption."""

    video: str
    effective_prompt: str


@dataclass(frozen=True)
class Line:
    """One segment."""

    digest: str
    blob: str
    """Its media: `size` bytes."""
    size: int
    frames: int
    ingested: bool
    effective_prompt: str | None
    """None: only its manifest says it, for the trail had no room; and then who made it too."""
    packed_video: bytes
    """The job that made it."""

    @property
    def told(self) -> Told | None:
        """Who made it, with which caption, if the trail knows. A film does not ask."""
        return None if self.effective_prompt is None else Told(_read_id(self.packed_video), self.effective_prompt)


class ListedMedia(NamedTuple):
    """Of a line, what a film needs."""

    blob: str
    size: int
    frames: int


@dataclass(frozen=True)
class Rung:
    """A manifest further back whose trail is full, or at which trails begin."""

    digest: str
    depth: int


class Trail(Stored):
    """See the module. Its JSON is part of the manifest's; `packed` lies behind that, in as few bytes as it takes."""

    fragments: int = Field(ge=1)
    """Of the media of all segments before: the number of the first one behind them."""
    segments: int = Field(ge=1, le=SEGMENTS)
    prompts: tuple[str, ...]
    """The captions of its segments, each once, as far as there is room."""
    squeezed: str = Field(default="", exclude_if=lambda value: not value)
    """Those of the segments that found none, in their order, as far as there is room: JSON, deflated, in base64. An
    earlier version reads them from the manifests."""
    packed: bytes = Field(default=b"", exclude=True)
    """The lines, oldest first; then the rungs, newest first."""

    def unpacked(self, packed: bytes) -> Self:
        """With what lay behind the JSON. Raises `ValueError` when that is not as long as it says, or the
        captions are broken."""
        rungs = len(packed) - self.segments * _LINE.size
        if rungs < 0 or rungs % _RUNG.size:
            raise ValueError(f"a trail of {self.segments} segments is not {len(packed)} bytes long")
        _captions_of(self.squeezed)
        return self.model_copy(update={"packed": packed})

    def lines(self) -> Iterator[Line]:
        """Oldest first."""
        others = iter(_captions_of(self.squeezed))
        for line in _LINE.iter_unpack(self.packed_lines):
            digest, blob, video, size, frames, flags = line
            number = flags & _UNTOLD
            prompt = next(others, None) if number == _UNTOLD else self.prompts[number]
            yield Line(digest.hex(), blob.hex(), size, frames, bool(flags & _INGESTED), prompt, video)

    def media(self) -> Iterator[ListedMedia]:
        """Where its segments' media lie, oldest first."""
        for _, blob, _, size, frames, _ in _LINE.iter_unpack(self.packed_lines):
            yield ListedMedia(blob.hex(), size, frames)

    @property
    def first(self) -> str:
        """The digest of its oldest segment: the manifest that goes on from there."""
        return self.packed[:32].hex()

    def next_behind(self, depth: int, wanted: int) -> str:
        """The manifest to read next on the way from the one at `depth`, which has this trail, to the one at `wanted`:
        the furthest that is not beyond it.
        """
        ways = (Rung(self.first, depth - self.segments), *self.rungs())
        return min((way for way in ways if way.depth >= wanted), key=lambda way: way.depth).digest

    def rungs(self) -> Iterator[Rung]:
        """Newest first."""
        for digest, depth in _RUNG.iter_unpack(self.packed[self.segments * _LINE.size :]):
            yield Rung(digest.hex(), depth)

    @property
    def packed_lines(self) -> bytes:
        """Without the rungs."""
        return self.packed[: self.segments * _LINE.size]


def trail_behind(before: Trail | None, line: Line, *, depth: int, fragments: int) -> Trail:
    """The trail of what comes behind the segment of `line` at `depth`, which has the trail `before`."""
    lines, rungs, prompts, squeezed = b"", b"", tuple[str, ...](), ""
    if before is not None and before.segments < SEGMENTS:
        lines, prompts, squeezed = before.packed_lines, before.prompts, before.squeezed
        rungs = before.packed[len(lines) :]
    elif before is not None:
        rungs = _climbed(before, depth)
    prompts, flags = _with_prompt(prompts, line.effective_prompt)
    if flags == _UNTOLD:
        untold = sum(flag & _UNTOLD == _UNTOLD for *_, flag in _LINE.iter_unpack(lines))
        squeezed = _with_squeezed(squeezed, line.effective_prompt, place=untold)
    lines += _LINE.pack(
        bytes.fromhex(line.digest),
        bytes.fromhex(line.blob),
        line.packed_video,
        line.size,
        line.frames,
        flags | (_INGESTED if line.ingested else 0),
    )
    segments = len(lines) // _LINE.size
    return Trail(fragments=fragments, segments=segments, prompts=prompts, squeezed=squeezed, packed=lines + rungs)


def _climbed(full: Trail, depth: int) -> bytes:
    """The rungs of the trail that begins with the segment at `depth`, whose own trail is full."""
    number = depth // SEGMENTS
    furthest = number & (number - 1)
    behind: Iterable[Rung] = (Rung(full.first, depth - SEGMENTS), *full.rungs())
    kept = (rung for rung in behind if rung.depth // SEGMENTS <= furthest)
    return b"".join(_RUNG.pack(bytes.fromhex(rung.digest), rung.depth) for rung in kept)


def _with_prompt(prompts: tuple[str, ...], prompt: str | None) -> tuple[tuple[str, ...], int]:
    """The prompts with this one, and its place among them."""
    if prompt is None:
        return prompts, _UNTOLD
    if prompt not in prompts:
        if prompts and sum(len(known.encode()) for known in (*prompts, prompt)) > PROMPT_BYTES:
            return prompts, _UNTOLD
        prompts = (*prompts, prompt)
    return prompts, prompts.index(prompt)


def _with_squeezed(squeezed: str, prompt: str | None, *, place: int) -> str:
    """The squeezed captions with this one at its place, if there is room; behind one that found none, none is put."""
    captions = _captions_of(squeezed)
    if prompt is None or len(captions) < place:
        return squeezed
    more = base64.b64encode(zlib.compress(json.dumps([*captions, prompt]).encode(), 9)).decode()
    return squeezed if len(more) > SQUEEZED_BYTES else more


def _captions_of(squeezed: str) -> list[str]:
    """Raises `ValueError` for what was not squeezed here."""
    if not squeezed:
        return []
    try:
        captions: list[str] = json.loads(_inflated(base64.b64decode(squeezed, validate=True)))
    except zlib.error as error:
        raise ValueError(f"a trail's captions are broken: {error}") from error
    return captions


def _inflated(data: bytes) -> bytes:
    """Of a bounded size, whatever the store holds."""
    inflater = zlib.decompressobj()
    found = inflater.decompress(data, 1 << 20)
    if not inflater.eof:
        raise ValueError("a trail's captions are more than a megabyte")
    return found


def packed_id(video: str) -> bytes | None:
    """An id in 17 bytes, for each of its characters stands for five bits. None for what is no such id."""
    text = video.removeprefix(_ID_PREFIX).upper().ljust(_TEXT_LENGTH, "A")
    try:
        packed = base64.b32decode(text)[:_ID_BYTES]
    except ValueError:
        return None
    return packed if _read_id(packed) == video else None


def _read_id(packed: bytes) -> str:
    text = base64.b32encode(packed.ljust(_TEXT_LENGTH * 5 // 8, b"\0")).decode()
    return _ID_PREFIX + text.lower()[:_ID_LENGTH]
