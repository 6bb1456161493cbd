"""A track: what all segments of one video share, fixed at its root and inherited by every extension."""

from __future__ import annotations

from typing import Literal

from serving.frozen import Stored
from serving.requests import Codec


class Track(Stored):
    """Codec, size, frame rate and encoder settings. Segments of one track join without re-encoding."""

    codec: Codec
    width: int
    height: int
    fps: int
    settings: Literal[1] = 1
    """Version of the encoder's settings; what each means stands in `encode.py`."""

    @property
    def timescale(self) -> int:
        """Ticks per second in the file: 1000 a frame."""
        return self.fps * TICKS_PER_FRAME


TICKS_PER_FRAME = 1000
