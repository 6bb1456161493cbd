"""How a segment's conditions and its noised latents become one sequence of tokens, and how the sampler steps.

The DiT sees `text | reference | anchor | short | first | rest`; conditions that are absent are left out.
Training and the serving family both pack here, in numpy alone, so that a graph is fed as it was trained.

    reference  the reference picture's latent            4 tokens
    anchor     the video's first latent                  n tokens      (extensions)
    short      the two newest latents                   2n tokens      (extensions)
    first      latent 0 of a root segment                n tokens      (roots)
    rest       the four latents to make                 4n tokens

n is the number of tokens of one latent frame: a token is 2x2 latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from engines.families.sprite.world import F32, I64, LATENT_CHANNELS

Segment = Literal["reference", "anchor", "short", "first", "rest"]

PATCH: Final = 2
TOKEN_FEATURES: Final = LATENT_CHANNELS * PATCH * PATCH
TEXT_TOKENS: Final = 14
SEGMENTS: Final = ("text", "reference", "anchor", "short", "first", "rest")
"""A segment's id is its place here."""
SHORT_LATENTS: Final = 2
REST_LATENTS: Final = 4
AXIS_ROWS: Final = {4: 0, 7: 4, 2: 11}
"""Where an axis of so many tokens begins in the position tables; the axis of 2 is the reference's."""
AXIS_TABLE_ROWS: Final = 13
FRAME_ROWS: Final[dict[Segment, tuple[int, ...]]] = {
    "anchor": (0,),
    "short": (1, 2),
    "first": (3,),
    "rest": (4, 5, 6, 7),
    "reference": (8,),
}
"""Rows of the frame table, by segment, oldest latent first."""
FRAME_TABLE_ROWS: Final = 9
SHIFT: Final = 6.0
DEFAULT_STEPS: Final = 8


@dataclass(frozen=True)
class Positions:
    """Where each packed token stands.  All int64 [S]; the text's tokens are not counted."""

    row: I64
    col: I64
    frame: I64
    segment: I64
    lengths: tuple[tuple[Segment, int], ...]
    """The segments in their order, with the tokens of each."""

    @property
    def target(self) -> slice:
        """The tokens that are denoised (`first` and `rest`): always the last ones."""
        return slice(sum(n for name, n in self.lengths if name not in ("first", "rest")), len(self.row))


def patchify(latents: npt.NDArray[np.float32]) -> F32:
    """Latents [..., T, 16, h, w] -> tokens [..., T (h/2) (w/2), 64].

    Tokens are in (t, y, x) order, the features of a token in (c, dy, dx) order.
    """
    *lead, t, c, h, w = latents.shape
    if h % PATCH or w % PATCH:
        raise ValueError(f"latents: height {h} and width {w} must be even to be cut into tokens of 2x2")
    x = latents.reshape(*lead, t, c, h // PATCH, PATCH, w // PATCH, PATCH)
    x = np.moveaxis(x, (-5, -3, -1), (-3, -2, -1))
    return np.ascontiguousarray(x).reshape(*lead, t * (h // PATCH) * (w // PATCH), c * PATCH * PATCH)


def unpatchify(tokens: npt.NDArray[np.float32], height: int, width: int) -> F32:
    """The inverse of `patchify`: tokens [..., T (h/2) (w/2), 64] -> latents [..., T, 16, h, w]."""
    *lead, count, features = tokens.shape
    rows, cols = height // PATCH, width // PATCH
    if count % (rows * cols):
        raise ValueError(f"tokens: {count} are not whole latents of {height}x{width} ({rows * cols} tokens each)")
    x = tokens.reshape(*lead, count // (rows * cols), rows, cols, features // PATCH**2, PATCH, PATCH)
    x = np.moveaxis(x, (-3, -2, -1), (-5, -3, -1))
    return np.ascontiguousarray(x).reshape(*lead, count // (rows * cols), features // PATCH**2, height, width)


def positions(height: int, width: int, segments: Sequence[Segment]) -> Positions:
    """Where the tokens of these segments stand, in this order; height and width in latents (8x8 to 14x8)."""
    rows, cols = height // PATCH, width // PATCH
    for name, axis in (("height", rows), ("width", cols)):
        if axis not in (4, 7):
            raise ValueError(f"{name}: {axis * PATCH} latents; the sprite model knows 8 and 14 (64 and 112 pixels)")
    parts = []
    lengths: list[tuple[Segment, int]] = []
    for name in segments:
        r, c = (2, 2) if name == "reference" else (rows, cols)
        frames = FRAME_ROWS[name]
        frame, row, col = np.meshgrid(frames, AXIS_ROWS[r] + np.arange(r), AXIS_ROWS[c] + np.arange(c), indexing="ij")
        segment = np.full(row.shape, SEGMENTS.index(name))
        parts.append(np.stack([row, col, frame, segment]).reshape(4, -1))
        lengths.append((name, len(frames) * r * c))
    row, col, frame, segment = np.concatenate(parts, 1).astype(np.int64)
    return Positions(row, col, frame, segment, tuple(lengths))


@dataclass(frozen=True)
class Packed:
    """A packed sequence: the DiT's `tokens` float32 [B, S, 64] and where they stand."""

    tokens: F32
    positions: Positions


def pack(target: F32, *, reference: F32 | None = None, anchor: F32 | None = None, short: F32 | None = None) -> Packed:
    """Lay conditions and target side by side.

    target     [B, 5, 16, h, w] for a root, [B, 4, 16, h, w] for an extension: noised, a given first frame clean
    reference  [B, 16, 4, 4]
    anchor     [B, 1, 16, h, w]
    short      [B, 2, 16, h, w], oldest first
    """
    latents, (height, width) = target.shape[1], target.shape[-2:]
    if latents not in (REST_LATENTS, REST_LATENTS + 1):
        raise ValueError(f"target: {latents} latents; a root has {REST_LATENTS + 1}, an extension {REST_LATENTS}")
    parts: list[tuple[Segment, F32]] = []
    if reference is not None:
        parts.append(("reference", reference[:, None]))
    if anchor is not None:
        parts.append(("anchor", anchor))
    if short is not None:
        parts.append(("short", short))
    if latents > REST_LATENTS:
        parts.append(("first", target[:, :1]))
    parts.append(("rest", target[:, -REST_LATENTS:]))
    tokens = np.concatenate([patchify(latent) for _, latent in parts], 1)
    where = positions(height, width, [name for name, _ in parts])
    if tokens.shape[1] != len(where.row):
        shapes = {name: latent.shape for name, latent in parts}
        raise ValueError(f"conditions: {tokens.shape[1]} tokens where the canvas takes {len(where.row)}: {shapes}")
    return Packed(tokens, where)


def levels(batch: int, time: float, *, first_given: bool = False) -> F32:
    """The noise level of each segment, float32 [B, 6]: conditions are clean, the target is at `time`."""
    result = np.zeros((batch, len(SEGMENTS)), np.float32)
    result[:, SEGMENTS.index("rest")] = time
    if not first_given:
        result[:, SEGMENTS.index("first")] = time
    return result


def times(steps: int = DEFAULT_STEPS) -> F32:
    """The sampler's times, float32 [steps + 1], from 1 (noise) to 0 (clean), shifted towards noise."""
    if steps < 1:
        raise ValueError(f"steps: {steps}; at least 1")
    even = np.linspace(1, 0, steps + 1)
    return (SHIFT * even / (1 + (SHIFT - 1) * even)).astype(np.float32)


def euler(x: F32, x0: F32, time: float, next_time: float) -> F32:
    """One Euler step from `time` to `next_time`, given the prediction x0 of the clean latents."""
    return (x + (next_time - time) / time * (x - x0)).astype(np.float32)
