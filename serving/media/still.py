"""Pictures that Longtake makes itself: PNGs of frames, thumbnails, contact sheets. Trusted input only.

The Renderer, the front door's previews, the demo and the page of a lineage use it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np
from PIL import Image, ImageDraw

from engines.families.base import Frames

_GAP, _LINE = 6, 14
_WORTH_SEEKING = 48
"""Frames: fewer are as soon decoded as sought."""
_PAPER, _INK = (250, 250, 248), (40, 40, 44)


def png(frame: Frames, *, scale: int = 1) -> bytes:
    """A frame, uint8 [h, w, 3], as PNG, enlarged by whole nearest-neighbour steps."""
    out = io.BytesIO()
    Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1)).save(out, "PNG")
    return out.getvalue()


def pixels(picture: bytes) -> Frames:
    """The inverse: uint8 [h, w, 3]."""
    with Image.open(io.BytesIO(picture)) as opened:
        return np.asarray(opened.convert("RGB"))


def scale_to(frame: Frames, longest_side: int) -> int:
    """The largest whole enlargement whose longest side does not exceed `longest_side`."""
    height, width, _ = frame.shape
    return max(1, longest_side // max(int(height), int(width)))


def frames_of(video: bytes | Path) -> Frames:
    """All frames of one of our own MP4s: uint8 [T, h, w, 3]."""
    return np.stack(list(each_frame(video)))


def each_frame(video: bytes | Path) -> Iterator[Frames]:
    """The frames of one of our own MP4s, one after the other: uint8 [h, w, 3]."""
    source = io.BytesIO(video) if isinstance(video, bytes) else str(video)
    with av.open(source, "r") as container:
        for frame in container.decode(video=0):
            yield cast(Frames, frame.to_ndarray(format="rgb24"))


def stills_of(video: Path, numbers: Iterable[int], *, fps: int, longest_side: int) -> Iterator[tuple[int, bytes]]:
    """Some frames of one of our own MP4s, by their numbers and in order, each as a small WebP; those that it lacks are
    left out. Of a long video no more is decoded than they need.
    """
    with av.open(str(video), "r") as container:
        stream = container.streams.video[0]
        there = round((container.duration or 0) / av.time_base * fps)
        frames = container.decode(stream)
        reached = -1
        for wanted in sorted(number for number in set(numbers) if number < there):
            if wanted > reached + _WORTH_SEEKING and stream.time_base:
                container.seek(round(wanted / fps / stream.time_base), stream=stream)
                frames = container.decode(stream)
            for frame in frames:
                reached = round((frame.time or 0) * fps)
                if reached >= wanted:
                    yield wanted, _webp(cast(Frames, frame.to_ndarray(format="rgb24")), longest_side)
                    break


def _webp(frame: Frames, longest_side: int) -> bytes:
    picture = Image.fromarray(frame)
    picture.thumbnail((longest_side, longest_side), Image.Resampling.BOX)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=85)
    return out.getvalue()


def native(frames: Frames, scale: int) -> Frames:
    """Undo a whole enlargement: the middle pixel of each block of `scale` x `scale`; uint8 [..., h, w, 3]."""
    return frames[..., scale // 2 :: scale, scale // 2 :: scale, :]


def contact_sheet(frames: Frames, *, columns: int, captions: Sequence[str] = ()) -> bytes:
    """A PNG with these frames, uint8 [n, h, w, 3], in rows of `columns`, each with its caption below."""
    count, height, width, _ = frames.shape
    line = _LINE if captions else 0
    rows = -(-count // columns)
    sheet = Image.new("RGB", (_GAP + columns * (width + _GAP), _GAP + rows * (height + line + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, frame in enumerate(frames):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (width + _GAP), _GAP + row * (height + line + _GAP)
        sheet.paste(Image.fromarray(frame), (x, y))
        if number < len(captions):
            draw.text((x, y + height + 1), captions[number], fill=_INK)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()
