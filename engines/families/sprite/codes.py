"""Every latent that the world can have, as a table: a training batch is made of look-ups and needs no encoder.

The encoder sees 8x8 pixels of 4 frames and nothing else. There the world is still (one block of one label), or its
content goes left, right, up or down by two blocks, and then the four frames show three blocks in a line: 10 + 4 x 1000
codes in all. `stage` writes a latent frame as codes, `training/data` looks them up.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from engines.families.sprite.world import BLOCK_PX, FRAMES_PER_LATENT, I64, LABELS, PALETTE, SPEED_PX, U8

Heading = Literal["left", "right", "up", "down"]
_HEADINGS: Final[tuple[Heading, ...]] = ("left", "right", "up", "down")
COUNT: Final = LABELS + len(_HEADINGS) * LABELS**3


def moving(heading: Heading, first: I64, second: I64, third: I64) -> I64:
    """Codes of blocks whose content goes `heading`.

    The three are the labels of a line of blocks, from left to right or from top to bottom: those that the place shows
    while the content passes by.
    """
    begin = LABELS + _HEADINGS.index(heading) * LABELS**3
    code: I64 = begin + (first * LABELS + second) * LABELS + third
    return code


def pixels() -> U8:
    """What each code looks like, uint8 [4010, 4, 8, 8, 3]."""
    labels = np.empty((COUNT, FRAMES_PER_LATENT, BLOCK_PX, BLOCK_PX), np.int64)
    labels[:LABELS] = np.arange(LABELS)[:, None, None, None]
    triple = np.stack(np.unravel_index(np.arange(LABELS**3), (LABELS,) * 3), 1)
    strip = np.repeat(triple, BLOCK_PX, 1)
    for number, heading in enumerate(_HEADINGS):
        codes = slice(LABELS + number * LABELS**3, LABELS + (number + 1) * LABELS**3)
        for frame in range(FRAMES_PER_LATENT):
            passed = SPEED_PX * (frame + 1)
            # Content that goes left or up shows ever later blocks of the line, and ends with the last of it.
            begin = passed if heading in ("left", "up") else 2 * BLOCK_PX - passed
            line = strip[:, None, begin : begin + BLOCK_PX]
            shown = np.broadcast_to(line, (LABELS**3, BLOCK_PX, BLOCK_PX))
            labels[codes, frame] = shown if heading in ("left", "right") else shown.transpose(0, 2, 1)
    return PALETTE[labels]
