"""Contact sheets of what the demo made: of each film, and of the whole story. `serving/cli/demo.py` saves them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engines.families.base import Frames
from serving.demo.story import Piece
from serving.media.still import contact_sheet

_FILM_COLUMNS, _COLUMNS = 4, 8
_LABEL, _GAP, _LINE = 300, 6, 16
_CHARS, _LINES_MAX = 40, 6
_INPUT, _INPUTS_LEFT = 24, 245
_PAPER, _INK, _SOFT = (250, 250, 248), (40, 40, 44), (110, 110, 116)
_COLOURS: Final = 128
"""Of the story's palette: it is shown, not measured."""


@dataclass(frozen=True)
class _Row:
    label: str
    inputs: Sequence[bytes]
    frames: Sequence[tuple[str, Frames]]
    """Each with its caption."""


def of_film(piece: Piece) -> bytes:
    """Its first frame and the last of each second, PNG."""
    picked = list(_frames(piece, whole=True))
    captions, frames = [caption for caption, _ in picked], np.stack([frame for _, frame in picked])
    return contact_sheet(frames, columns=_FILM_COLUMNS, captions=captions)


def of_story(pieces: Sequence[Piece]) -> bytes:
    """Of each piece its prompt, the pictures that went in, and the seconds that it added; PNG."""
    rows = [
        _Row(piece.video.prompt, piece.pictures, list(_frames(piece, whole=False)))
        for piece in pieces
        if piece.segments
    ]
    height, width, _ = pieces[0].reading.frames[0].shape
    step = height + _LINE + 2 * _GAP
    sheet = Image.new("RGB", (_LABEL + _COLUMNS * (width + _GAP), _GAP + step * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        _draw(sheet, draw, row, _GAP + number * step)
    out = io.BytesIO()
    sheet.quantize(_COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: _Row, top: int) -> None:
    font = ImageFont.load_default(size=11)
    lines = textwrap.shorten(f"\u201c{row.label}\u201d", _CHARS * _LINES_MAX, placeholder=" \u2026\u201d")
    draw.multiline_text((_GAP, top), "\n".join(textwrap.wrap(lines, _CHARS)), fill=_INK, font=font)
    for place, data in enumerate(row.inputs):
        with Image.open(io.BytesIO(data)) as picture:
            shown = picture.convert("RGB")
        shown = shown.resize((shown.width * _INPUT // shown.height, _INPUT), Image.Resampling.BOX)
        sheet.paste(shown, (_INPUTS_LEFT, top + place * (_INPUT + _GAP)))
    for place, (caption, frame) in enumerate(row.frames):
        left = _LABEL + place * (frame.shape[1] + _GAP)
        sheet.paste(Image.fromarray(frame), (left, top))
        draw.text((left, top + frame.shape[0] + 1), caption, fill=_SOFT, font=font)


def _frames(piece: Piece, *, whole: bool) -> Iterator[tuple[str, Frames]]:
    """A video's first frame, and the last one of each second, with what the camera does; without `whole` of those alone
    that it added itself.
    """
    frames = piece.reading.frames
    if whole or not piece.video.parent_video_id:
        yield "0 s", frames[0]
    for segment in piece.segments:
        if whole or segment.video_id == piece.video.id:
            camera = segment.effective_prompt.rpartition("the camera ")[2]
            yield f"{segment.index + 1} s, {camera}", frames[segment.start_frame + segment.frames - 1]
