"""Reads back from pixels alone what a frame shows: the label of each block, and the whole stage of a first frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.families.sprite.stage import Place
from engines.families.sprite.world import (
    BLOCK_PX,
    F32,
    FIRST_SKY,
    I64,
    LABELS,
    PALETTE,
    SHAPE_NAMES,
    SHAPES,
    SUBJECTS_MAX,
    U8,
    Art,
    Grid,
    Named,
    Pattern,
)

_MIDDLE: Final = slice(2, 6)
"""The pixels of a block that count, along each side: edges are soft."""


def labels(frames: U8) -> tuple[I64, F32]:
    """Frames [..., H, W, 3] -> the commonest label in the middle of each block, [..., H/8, W/8], and its share."""
    *lead, height, width, _ = frames.shape
    blocks = frames.reshape(*lead, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX, 3)
    middle = blocks[..., _MIDDLE, :, _MIDDLE, :].astype(np.int32)
    distance = (middle[..., None, :] - PALETTE.astype(np.int32)).astype(np.float32)
    nearest = np.square(distance).sum(-1).argmin(-1)
    counts = (nearest[..., None] == np.arange(LABELS)).sum((-4, -2))
    return counts.argmax(-1), (counts.max(-1) / counts.sum(-1)).astype(np.float32)


@dataclass(frozen=True)
class Sighting:
    """The stage as a frame shows it."""

    sky: int
    """A label."""
    scenery: I64
    """Labels [2, 2 cols] of the bottom row of tokens."""
    subjects: tuple[tuple[Art, Place], ...]
    """What stands in the sky, and where; at most two."""
    left_out: int
    """Tokens of the sky that show something else: more subjects than two, or what is no art of this world."""


def look(frame: U8) -> Sighting:
    """Read a frame [H, W, 3] of this world's art, or of anything else as far as that goes."""
    shown = labels(frame)[0]
    sky_area = shown[:-2]
    counts = np.bincount(sky_area.reshape(-1), minlength=LABELS)
    sky = FIRST_SKY + int(counts[FIRST_SKY:].argmax())
    grid = Grid(len(shown) // 2, shown.shape[1] // 2)
    found: list[tuple[Art, Place]] = []
    left_out = 0
    for row in range(grid.sky_rows):
        for col in range(grid.cols):
            blocks = sky_area[2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
            if (blocks == sky).all():
                continue
            art = art_of(blocks, sky)
            if art is None or len(found) == SUBJECTS_MAX:
                left_out += 1
            else:
                found.append((art, (col, row)))
    return Sighting(sky, shown[-2:], tuple(found), left_out)


def art_of(blocks: I64, sky: int) -> Art | None:
    """The subject that these 2x2 blocks are over a sky, if they are one."""
    a, b, c, d = (int(label) for label in blocks.reshape(-1))
    colours = {a, b, c, d} - {sky}
    mask = tuple(int(label != sky) for label in (a, b, c, d))
    if len(colours) == 1 and max(colours) < FIRST_SKY and mask in SHAPES.values():
        return Named(colours.pop(), SHAPE_NAMES.index(next(n for n, m in SHAPES.items() if m == mask)))
    return Pattern((a, b, c, d)) if max(a, b, c, d) < FIRST_SKY else None
