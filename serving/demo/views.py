"""Pictures of what a video remembers: columns of its ring of scenery, cut out of the frames where they were seen.

`measure.py` makes them for the page.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.families.base import Frames
from engines.families.sprite.history import SCENE, Known, Segment, View
from engines.families.sprite.world import FRAMES_PER_LATENT, RING, TOKEN_PX
from serving.media.still import png

_UNSEEN = 222
"""Grey of a column that nobody has seen."""


def remembered(segment: Segment, frames: Frames) -> bytes | None:
    """The columns that come into a segment's frame and were seen before, from left to right as they come to stand; PNG.

    `frames`: the whole video, uint8 [T, h, w, 3]. None where it is shown none.
    """
    left = segment.target[-1].after.offset
    views = {column: view for column, view in segment.columns if view is not None and view.latent != SCENE}
    if not views:
        return None
    return png(np.hstack([_cut(views, column, frames) for column in sorted(views, key=lambda c: (c - left) % RING)]))


def world(known: Known, frames: Frames) -> bytes:
    """The whole ring, as far as it is remembered; PNG."""
    return png(np.hstack([_cut(known.views, column, frames) for column in range(RING)]))


def _cut(views: Mapping[int, View], column: int, frames: Frames) -> Frames:
    """One column, uint8 [h, 16, 3], from the last frame of the latent that shows it."""
    view = views.get(column)
    if view is None:
        return np.full((frames.shape[1], TOKEN_PX, 3), _UNSEEN, np.uint8)
    left = TOKEN_PX * ((column - view.offset) % RING)
    cut: Frames = frames[FRAMES_PER_LATENT * view.latent, :, left : left + TOKEN_PX]
    return cut
