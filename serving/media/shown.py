"""Decoded frames of users' videos as a screen shows them: upright, mirrored where their file says so.

Only `films.py` calls it, in a child process that could do no harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, ColorTrc
from numpy.typing import NDArray
from PIL import Image

from serving.media.pictures import RefusedError, cropped

MAX_SIDE = 4096
_UNTOLD = 2
"""FFmpeg's colour space of a file that names none, which its scaler takes for BT.601 whatever the size."""
_HDR = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
"""By how it says that light becomes numbers. Taken as SDR, its white would be a middling grey."""


@dataclass(frozen=True)
class Turn:
    """How a frame comes to stand upright: turned over its diagonal or not, and then flipped. All quarter turns and
    mirrorings are made of these."""

    over: bool = False
    """Rows become columns: a frame that lies on its side."""
    left_right: bool = False
    up_down: bool = False

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[height, width, 3], upright."""
        if self.over:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


def turn_of(frame: VideoFrame) -> Turn:
    """What its display matrix says: a phone held upright, a front camera. An angle in between counts as the nearest
    quarter turn."""
    a, b, c, d = _matrix(frame)  # x' = a x + c y, y' = b x + d y
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(left_right=a < 0, up_down=d < 0)
    return Turn(over=True, left_right=c < 0, up_down=b < 0)


def _matrix(frame: VideoFrame) -> tuple[float, float, float, float]:
    try:
        told = cast(SideData | None, frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:  # PyAV fails at side data that it has no name for, as films for two eyes have
        angle = math.radians(frame.rotation)  # all that it tells then: nothing of mirroring
        return math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    if told is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(told), np.int32).tolist()
    return a, b, c, d


def check(frame: VideoFrame) -> None:
    """Raises `RefusedError` for one that would not be shown as it is meant."""
    if max(frame.width, frame.height) > MAX_SIDE:
        raise RefusedError("a frame is larger than the track says")
    if hdr := _HDR.get(cast(ColorTrc, frame.color_trc)):
        raise RefusedError(f"it is HDR ({hdr}): export it as SDR")


class Shown:
    """A frame, scaled when it is first asked for. Raises `RefusedError`."""

    def __init__(self, frame: VideoFrame, width: int, height: int, pixel: float) -> None:
        """`pixel`: width by height of one of the frame's, as it is stored."""
        check(frame)
        self._frame = frame
        self._size = width, height
        self._pixel = pixel
        self._pixels: bytes | None = None

    def pixels(self) -> bytes:
        """RGB bytes."""
        if self._pixels is None:
            turn = turn_of(self._frame)
            image = Image.fromarray(turn(_rgb(self._frame)))
            self._pixels = cropped(image, *self._size, pixel=1 / self._pixel if turn.over else self._pixel)
        return self._pixels


def _rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """[height, width, 3]. Of a file that does not say by which standard its colours are coded, the size tells: HD is
    BT.709, what is smaller BT.601, as players have it."""
    hd = frame.width >= 1280 or frame.height >= 720
    space = Colorspace.ITU709 if hd and frame.colorspace == _UNTOLD else None
    return cast(NDArray[np.uint8], frame.to_ndarray(format="rgb24", src_colorspace=space))
