"""Reads back from pixels alone what a frame shows: the label of each block, and how sure that is."""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.families.sprite2.world import BLOCK_PX, F32, I64, LABELS, PALETTE, U8

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
