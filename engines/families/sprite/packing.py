"""How a segment's words, conditions and noised latents become one sequence of tokens, and how the sampler steps.

    text       what each subject is, does and where; the sky, the camera      14 tokens
    reference  the references' latents, one token each                         2
    memory     remembered columns, `rows` tokens each                          c rows    (c: 0 to what the target shows)
    short      the newest latent                                               n         (extensions)
    target     the latents to make                                             5n or 4n

n is the number of tokens of one latent frame. Every token of memory, short and target stands at its column of the ring
and at its row, counted from the bottom; words and references stand where their subject is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.families.sprite.directing import SEGMENT_LATENTS
from engines.families.sprite.stage import Moment
from engines.families.sprite.world import F32, I64, LATENT_CHANNELS, SUBJECTS_MAX, Grid

PATCH: Final = 2
TOKEN_FEATURES: Final = LATENT_CHANNELS * PATCH * PATCH
SEGMENTS: Final = ("text", "reference", "memory", "short", "target")
"""A segment's id is its place here."""
ROLES: Final = (
    "reference 1",
    "reference 2",
    "memory",
    "short",
    "still",
    "target 1",
    "target 2",
    "target 3",
    "target 4",
)
"""What a token is within its segment; `still` is a video's first latent."""
ROOT_LATENTS: Final = SEGMENT_LATENTS + 1
SHIFT: Final = 3.0
"""How far the sampler's steps are shifted towards noise. With 8 of them, more leaves too wide a last one: what is
invented is then now and then a colour between two."""
DEFAULT_STEPS: Final = 8


@dataclass(frozen=True)
class Part:
    """One segment of the sequence but the text."""

    segment: int
    places: I64
    """[S, 2]: column of the ring, and row counted from the bottom."""
    role: I64
    """[S]"""
    pan: I64
    """[S]: the camera's motion in the token's latent: 0 holds, 1 right, 2 left."""


def patchify(latents: npt.NDArray[np.float32]) -> F32:
    """Latents [..., 16, h, w] -> tokens [..., (h/2) (w/2), 64], a token's features in (dy, dx, c) order."""
    *lead, c, h, w = latents.shape
    x = latents.reshape(*lead, c, h // PATCH, PATCH, w // PATCH, PATCH)
    x = np.moveaxis(x, (-4, -2, -3, -1, -5), (-5, -4, -3, -2, -1))
    return np.ascontiguousarray(x).reshape(*lead, (h // PATCH) * (w // PATCH), c * PATCH * PATCH)


def unpatchify(tokens: npt.NDArray[np.float32], grid: Grid) -> F32:
    """The inverse: tokens [..., n, 64] of single latents -> [..., 16, 2 rows, 2 cols]."""
    lead = tokens.shape[:-2]
    x = tokens.reshape(*lead, grid.rows, grid.cols, PATCH, PATCH, LATENT_CHANNELS)
    x = np.moveaxis(x, (-5, -4, -3, -2, -1), (-4, -2, -3, -1, -5))
    return np.ascontiguousarray(x).reshape(*lead, LATENT_CHANNELS, PATCH * grid.rows, PATCH * grid.cols)


def latent_part(segment: str, moments: tuple[Moment, ...], grid: Grid) -> Part:
    """Whole latent frames: `short`, or the target of a root (five moments) or of an extension (four)."""
    first = ROLES.index("short") if segment == "short" else len(ROLES) - len(moments)
    cols = np.array([moment.after.view(grid.cols) for moment in moments])
    shape = (len(moments), grid.rows, grid.cols)
    rows = grid.rows - 1 - np.arange(grid.rows)
    return Part(
        SEGMENTS.index(segment),
        np.stack([np.broadcast_to(cols[:, None], shape), np.broadcast_to(rows[:, None], shape)], -1).reshape(-1, 2),
        np.broadcast_to(first + np.arange(len(moments))[:, None, None], shape).reshape(-1),
        np.broadcast_to(np.array([moment.pan % 3 for moment in moments])[:, None, None], shape).reshape(-1),
    )


def memory_part(columns: tuple[int, ...], pans: tuple[int, ...], grid: Grid) -> Part:
    """Remembered columns, and the camera's motion in the latents that they come from."""
    count = len(columns)
    rows = np.tile(grid.rows - 1 - np.arange(grid.rows), count)
    return Part(
        SEGMENTS.index("memory"),
        np.stack([np.repeat(np.array(columns, np.int64), grid.rows), rows], 1),
        np.full(count * grid.rows, ROLES.index("memory")),
        np.repeat(np.array([pan % 3 for pan in pans], np.int64), grid.rows),
    )


def reference_part(moment: Moment, grid: Grid) -> Part:
    """The two references at their subjects' places before the target's first motion; a missing one at (0, 0)."""
    places = [(col, grid.rows - 1 - row) for col, row in moment.before.places]
    places += [(0, 0)] * (SUBJECTS_MAX - len(places))
    none = np.zeros(SUBJECTS_MAX, np.int64)
    return Part(SEGMENTS.index("reference"), np.array(places, np.int64), np.arange(SUBJECTS_MAX), none)


def levels(batch: int, time: float) -> F32:
    """The noise level of each segment, float32 [B, 5]: conditions are clean, the target is at `time`."""
    result = np.zeros((batch, len(SEGMENTS)), np.float32)
    result[:, SEGMENTS.index("target")] = time
    return result


def times(steps: int = DEFAULT_STEPS) -> F32:
    """The sampler's times, float32 [steps + 1], from 1 (noise) to 0 (clean), shifted towards noise."""
    if steps < 1:
        raise ValueError(f"steps: {steps}; at least 1")
    even = np.linspace(1, 0, steps + 1)
    return (SHIFT * even / (1 + (SHIFT - 1) * even)).astype(np.float32)


def euler(x: F32, x0: F32, time: float, next_time: float) -> F32:
    """One Euler step from `time` to `next_time`, given the prediction x0 of the clean tokens."""
    return (x + (next_time - time) / time * (x - x0)).astype(np.float32)
