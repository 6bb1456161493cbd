"""The few facts of an existing video that planning its extension needs. `plan.py` and `lineage.py` use it."""

from __future__ import annotations

from serving.frozen import Frozen
from serving.media.track import Track


class VideoShape(Frozen):
    """Size, track and length of a video, read from its head manifest."""

    aspect_ratio: str
    height: int
    width: int
    track: Track
    total_frames: int
    depth: int
    """Segments between its root and its head."""
