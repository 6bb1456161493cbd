"""Pictures that Longtake makes itself: PNGs of frames, thumbnails, contact sheets. Trusted input only.

The Renderer, the front door's previews and the demo use it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np
from PIL import Image, ImageDraw

from engines.families.base import Frames

_GAP, _LINE = 6, 14
_PAPER, _INK = (250, 250, 248), (40, 40, 44)


def png(frame: Frames, *, scale: int = 1) -> bytes:
    """A frame, uint8 [h, w, 3], as PNG, enlarged by whole nearest-neighbour steps."""
    out = io.BytesIO()
    Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1)).save(out, "PNG")
    return out.getvalue()


def scale_to(frame: Frames, longest_side: int) -> int:
    """The largest whole enlargement whose longest side does not exceed `longest_side`."""
    height, width, _ = frame.shape
    return max(1, longest_side // max(int(height), int(width)))


def frames_of(video: bytes | Path) -> Frames:
    """All frames of one of our own MP4s: uint8 [T, h, w, 3]."""
    source = io.BytesIO(video) if isinstance(video, bytes) else str(video)
    with av.open(source, "r") as container:
        return np.stack([cast(Frames, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)])


def native(frames: Frames, scale: int) -> Frames:
    """Undo a whole enlargement: the middle pixel of each block of `scale` x `scale`."""
    return frames[:, scale // 2 :: scale, scale // 2 :: scale]


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
