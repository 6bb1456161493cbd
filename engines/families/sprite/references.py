"""What sprite-2 reads from a reference picture: a subject's 2x2 blocks, or a scene's scenery and sky.

What is encoded is the reading and not the picture, so that a photograph is a thing of this world, too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.families.base import Frames, ReferenceReading
from engines.families.sprite import reading
from engines.families.sprite.world import (
    COLOUR_NAMES,
    F32,
    FIRST_SKY,
    I64,
    PALETTE,
    SHAPE_NAMES,
    SKY_NAMES,
    Art,
    Named,
    Pattern,
    painted,
    picture,
)

FAITHFUL: Final = 0.85
"""Share of a picture's pixels that must be as they were read for no warning to be given."""
_SKY: Final = 0.5
"""Share of what is above a scene's bottom edge that must be of its sky's colour."""
NEAR: Final = 48.0
"""Distance in RGB up to which a colour counts as the palette's."""
_GROUND: Final = SKY_NAMES.index("black") + FIRST_SKY
"""The sky that a reference is shown over, as in training."""


def read_subject(shown: Frames) -> ReferenceReading:
    """uint8 [16, 16, 3] → the subject that its four blocks are."""
    art, over = _art(reading.labels(shown)[0], shown)
    description = in_words(art)
    lost = _lost(shown, picture(art, over))
    warning = None
    if lost:
        warning = f"the picture has {lost} than this model's references carry; it was read as {description}"
    return ReferenceReading(picture(art, _GROUND), description, warning)


def read_scene(shown: Frames) -> ReferenceReading:
    """uint8 [H, W, 3] of a canvas → its bottom row as scenery, under the sky that most of the rest shows."""
    seen = reading.look(shown)
    rows, cols = shown.shape[0] // 8, shown.shape[1] // 8
    labels = np.full((rows, cols), seen.sky)
    labels[-2:] = _coloured(shown)[-2:]
    drawn = painted(labels)
    sky = SKY_NAMES[seen.sky - FIRST_SKY]
    told = []
    if lost := _lost(shown[-16:], drawn[-16:]):
        colours = dict.fromkeys(COLOUR_NAMES[label] for label in labels[-2:].reshape(-1))
        told.append(
            f"the picture has {lost} than this model's scenery carries; its bottom edge was read block by block, as "
            f"{', '.join(colours)}"
        )
    if _alike(shown[:-16], drawn[:-16]) < _SKY:
        told.append(f"most of what is above its bottom edge is no sky of this model's; it was read as a {sky} one")
    return ReferenceReading(drawn, f"scenery under a {sky} sky", "; ".join(told) or None, sky)


def _art(labels: I64, shown: Frames) -> tuple[Art, int]:
    """A named shape where one colour stands over one sky, else the pattern of its blocks; and that sky."""
    skies = labels[labels >= FIRST_SKY]
    if len(skies):
        found = reading.art_of(labels, int(skies[0]))
        if found is not None:
            return found, int(skies[0])
    a, b, c, d = (int(label) for label in _coloured(shown).reshape(-1))
    if a == b == c == d:
        return Named(a, SHAPE_NAMES.index("square")), _GROUND
    return Pattern((a, b, c, d)), _GROUND


def _coloured(shown: Frames) -> I64:
    """The nearest colour, never a sky, of each block's mean, [H/8, W/8]."""
    distance = np.square(_means(shown)[..., None, :] - PALETTE[:FIRST_SKY].astype(np.float32)).sum(-1)
    nearest: I64 = distance.argmin(-1)
    return nearest


def _means(shown: Frames) -> F32:
    """The mean colour of each block, [H/8, W/8, 3]."""
    height, width, _ = shown.shape
    means: F32 = shown.reshape(height // 8, 8, width // 8, 8, 3).astype(np.float32).mean((1, 3))
    return means


def _lost(shown: Frames, read: Frames) -> str:
    """What a picture has more of than its reading; empty if that shows it as it is.

    Where each block is of one colour, nothing but that colour can be another one.
    """
    if _alike(shown, read) >= FAITHFUL:
        return ""
    plain = np.kron(_means(shown), np.ones((8, 8, 1), np.float32))
    return "other colours" if _alike(shown, plain) >= FAITHFUL else "more detail"


def _alike(shown: Frames, read: Frames | F32) -> float:
    """The share of pixels that are nearly as they were read."""
    distance = np.sqrt(np.square(shown.astype(np.float32) - read.astype(np.float32)).sum(-1))
    return float((distance <= NEAR).mean())


def in_words(art: Art) -> str:
    """`a red bar`, `a pattern of red, yellow over blue, cyan`."""
    if isinstance(art, Named):
        return f"a {COLOUR_NAMES[art.colour]} {SHAPE_NAMES[art.shape]}"
    a, b, c, d = (COLOUR_NAMES[colour] for colour in art.colours)
    return f"a pattern of {a}, {b} over {c}, {d}"
