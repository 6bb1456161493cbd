"""Reads the sprite world back from pixels: what is shown, on what, where, and how it moves.

Nothing is assumed about the content, and nothing is known here of how a video was made, so it measures any
model. `score` judges with it, the demo writes down with it what a video shows, and `reference` reads
pictures with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.families.sprite import world
from engines.families.sprite.world import F32, I64, SPRITE_PX, U8

MARGIN_PX: Final = 4
"""How far a sprite may stick out of the canvas and still be found."""
FOUND_FIT: Final = 0.6
"""Least overlap (intersection over union) with a template for a sprite to be there at all."""
SHAPE_FIT: Final = 0.65
"""Least overlap for its shape to count as known."""
PURE: Final = 0.8
"""Least share of one colour for a sprite to count as being of that colour."""
BLOCK: Final = len(world.SHAPE_NAMES)
"""The shape index of a full block, which is what a pattern looks like."""
NEITHER: Final = -1

_PALETTE: Final[F32] = np.concatenate([world.COLOUR_RGB, world.BACKGROUND_RGB]).astype(np.float32)
_COLOURS: Final = len(world.COLOUR_NAMES)
_LEAST_PIXELS: Final = 24
"""A colour with fewer pixels in a frame is noise at an edge, not a part of the sprite."""


@dataclass(frozen=True)
class Readback:
    """What each of T frames shows, as indices of `world`; NEITHER (-1) or NaN where there is no sprite."""

    background: I64
    """[T]"""
    colour: I64
    """[T]: the sprite's most frequent colour."""
    purity: F32
    """[T]: that colour's share of the sprite."""
    shape: I64
    """[T]: index of a shape, BLOCK for a full block, NEITHER where none fits well."""
    fit: F32
    """[T]: overlap with the best template."""
    x: F32
    """[T]: left edge in pixels."""
    y: F32
    """[T]: upper edge in pixels."""
    grid: I64
    """[T, 4, 4]: palette index of each block of 8 pixels; 6 and above are backgrounds."""

    @property
    def corners(self) -> F32:
        """[T, 2]: x and y."""
        return np.stack([self.x, self.y], 1)


def decode(frames: U8) -> Readback:
    """Read frames uint8 [T, H, W, 3]."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames: {frames.dtype} {frames.shape}; expected uint8 [T, H, W, 3]")
    count, height, width = frames.shape[:3]
    distance = _palette_distance(frames)
    label = distance.argmin(-1)
    counts = np.stack([(label == i).sum((1, 2)) for i in range(len(_PALETTE))], 1)
    background = counts[:, _COLOURS:].argmax(1)
    present = counts[:, :_COLOURS] >= _LEAST_PIXELS
    sprite_distance = np.where(present[:, None, None], distance[..., :_COLOURS], np.inf).min(-1)
    back_distance = np.take_along_axis(distance, (background + _COLOURS)[:, None, None, None], -1)[..., 0]
    shape, fit, x, y = _find(sprite_distance < back_distance)
    found = fit >= FOUND_FIT
    colour = counts[:, :_COLOURS].argmax(1)
    purity = counts[np.arange(count), colour] / np.maximum(counts[:, :_COLOURS].sum(1), 1)
    grid = np.full((count, 4, 4), NEITHER)
    for t in np.flatnonzero(found):
        grid[t] = _blocks(label[t], int(x[t]), int(y[t]), height, width)
    nowhere = np.where(found, 0.0, np.nan)
    return Readback(
        background=background,
        colour=np.where(found, colour, NEITHER),
        purity=purity.astype(np.float32),
        shape=np.where(fit >= SHAPE_FIT, shape, NEITHER),
        fit=fit.astype(np.float32),
        x=(x + nowhere).astype(np.float32),
        y=(y + nowhere).astype(np.float32),
        grid=grid,
    )


def _palette_distance(frames: U8) -> F32:
    """[T, H, W, 10]: distance of each pixel to each palette colour."""
    pixels = frames.astype(np.float32)
    squared = (pixels**2).sum(-1, keepdims=True) - 2 * pixels @ _PALETTE.T + (_PALETTE**2).sum(-1)
    distance: F32 = np.sqrt(np.maximum(squared, 0)).astype(np.float32)
    return distance


def _find(foreground: npt.NDArray[np.bool_]) -> tuple[I64, F32, I64, I64]:
    """Best template of each frame [T, H, W]: shape, overlap, x, y.  Correlation tries all places at once."""
    count, height, width = foreground.shape
    size = (height + 2 * MARGIN_PX, width + 2 * MARGIN_PX)
    padded = np.zeros((count, *size), np.float32)
    padded[:, MARGIN_PX : MARGIN_PX + height, MARGIN_PX : MARGIN_PX + width] = foreground
    templates = np.zeros((BLOCK + 1, *size), np.float32)
    templates[:BLOCK, :SPRITE_PX, :SPRITE_PX] = world.SHAPE_MASKS
    templates[BLOCK, :SPRITE_PX, :SPRITE_PX] = 1
    spectrum = np.fft.rfft2(padded)[:, None] * np.fft.rfft2(templates).conj()
    # Circular, but a template that starts at these places never reaches around.
    tall, wide = size[0] - SPRITE_PX + 1, size[1] - SPRITE_PX + 1
    inside = np.fft.irfft2(spectrum, size)[:, :, :tall, :wide]
    union = foreground.sum((1, 2))[:, None, None, None] + templates.sum((1, 2))[:, None, None] - inside
    overlap = (inside / union).reshape(count, -1)
    best = overlap.argmax(1)
    shape, y, x = np.unravel_index(best, (BLOCK + 1, tall, wide))
    return shape, overlap[np.arange(count), best].astype(np.float32), x - MARGIN_PX, y - MARGIN_PX


def _blocks(label: I64, x: int, y: int, height: int, width: int) -> I64:
    """The commonest label in the middle of each of the 4x4 blocks of a sprite at (x, y)."""
    grid = np.full((4, 4), NEITHER)
    for row in range(4):
        for col in range(4):
            top, left = y + world.BLOCK_PX * row + 2, x + world.BLOCK_PX * col + 2
            middle = label[max(top, 0) : min(top + 4, height), max(left, 0) : min(left + 4, width)]
            if middle.size:
                grid[row, col] = np.bincount(middle.ravel()).argmax()
    return grid


@dataclass(frozen=True)
class Attributes:
    """A whole video in words, None where the frames do not agree."""

    background: str | None
    colour: str | None
    shape: str | None
    """A named shape; None for a pattern."""
    direction: str | None
    """Of the first motion."""
    pattern: tuple[tuple[str, ...], ...] | None
    """4x4 names, for a full block of the same colours in most frames."""


def attributes(frames: U8) -> Attributes:
    """What most of the frames show, and where the sprite first goes."""
    seen = decode(frames)
    shape = _agreed(seen.shape)
    pattern = None
    if shape == BLOCK:
        grids = [tuple(g.ravel()) for g in seen.grid]
        common = max(set(grids), key=grids.count)
        if grids.count(common) * 2 > len(grids):
            names = (*world.COLOUR_NAMES, *world.BACKGROUND_NAMES)
            pattern = tuple(tuple(names[i] for i in common[r * 4 : r * 4 + 4]) for r in range(4))
    colour = _agreed(np.where(seen.purity >= PURE, seen.colour, NEITHER))
    background = _agreed(seen.background)
    return Attributes(
        background=None if background is None else world.BACKGROUND_NAMES[background],
        colour=None if colour is None else world.COLOUR_NAMES[colour],
        shape=None if shape is None or shape == BLOCK else world.SHAPE_NAMES[shape],
        direction=_first_motion(seen),
        pattern=pattern,
    )


def _agreed(values: I64) -> int | None:
    """The value of most frames, or None."""
    found, counts = np.unique(values, return_counts=True)
    best = int(found[counts.argmax()])
    return best if best != NEITHER and counts.max() * 2 > len(values) else None


def _first_motion(seen: Readback) -> str | None:
    """The direction of the first four frames' displacement."""
    places = seen.corners[: world.FRAMES_PER_LATENT + 1]
    places = places[~np.isnan(places).any(1)]
    if len(places) < 2:
        return None
    dx, dy = places[-1] - places[0]
    if max(abs(dx), abs(dy)) < world.SPEED_PX:
        return None
    step = (int(np.sign(dx)), 0) if abs(dx) > abs(dy) else (0, int(np.sign(dy)))
    return next(name for name, vector in world.DIRECTIONS.items() if vector == step)


@dataclass(frozen=True)
class Verdict:
    """Whether a piece of video shows what it should."""

    identity: bool
    """Colour and shape, or all 16 blocks, in three quarters of the frames."""
    colour: bool
    shape: bool
    blocks: float
    """Share of the pattern's blocks that are right over all frames; 0 or 1 (identity) for a named sprite."""
    background: bool
    direction: bool
    """The sprite keeps to the bouncing path of the asked direction from where it first stands."""
    velocity: bool
    """4 pixels a frame along the asked direction's axis, in 85 % of the steps."""
    smooth: bool
    """It is found in every frame and nowhere jumps more than 8 pixels."""
    corners: F32
    """[T, 2]: where it stands."""

    @property
    def all(self) -> bool:
        """Identity, background and direction."""
        return self.identity and self.background and self.direction


def judge(
    frames: U8,
    sprite: world.Sprite,
    background: int,
    direction: int,
    *,
    is_start: bool = True,
    previous: F32 | None = None,
) -> Verdict:
    """Judge a piece of a video that began with `direction`.

    `is_start`: the piece holds the video's frame 0, so its direction can be told (else that verdict is True).
    `previous` [2]: the place in the frame before the piece, so that the step across the seam counts.
    """
    seen = decode(frames)
    if isinstance(sprite, world.Named):
        colour = bool(np.mean((seen.colour == sprite.colour) & (seen.purity >= PURE)) >= 0.75)
        shape = bool(np.mean(seen.shape == sprite.shape) >= 0.75)
        blocks = float(colour and shape)
    else:
        right = seen.grid == sprite.grid()
        colour = shape = bool(np.mean(right.all((1, 2))) >= 0.75)
        blocks = float(right.mean())
    places = seen.corners if previous is None else np.concatenate([previous[None], seen.corners])
    steps = np.abs(np.diff(places, axis=0))
    axis = 0 if world.DIRECTIONS[world.DIRECTION_NAMES[direction]][0] else 1
    even = (steps[:, axis] >= 2) & (steps[:, axis] <= 6) & (steps[:, 1 - axis] <= 2)
    canvas = (frames.shape[1], frames.shape[2])
    return Verdict(
        identity=colour and shape,
        colour=colour,
        shape=shape,
        blocks=blocks,
        background=bool(np.mean(seen.background == background) >= 0.9),
        direction=not is_start or _keeps_to_path(seen, direction, canvas),
        velocity=len(steps) > 0 and bool(np.mean(even) >= 0.85),
        smooth=not np.isnan(places).any() and (len(steps) == 0 or float(steps.max()) <= 8),
        corners=seen.corners,
    )


def _keeps_to_path(seen: Readback, direction: int, canvas: tuple[int, int]) -> bool:
    """True when 85 % of the frames lie within 3 pixels of the path that begins where the sprite begins."""
    x, y = seen.corners[0]
    if np.isnan(x):
        return False
    dx, dy = world.DIRECTIONS[world.DIRECTION_NAMES[direction]]
    length = (world.along_and_across(canvas, direction)[0] - 1) * world.TOKEN_PX
    along, across = (x, y) if dx else (y, x)
    travelled = length - along if dx + dy < 0 else along
    if travelled > length - world.SPEED_PX / 2:
        # At the far wall already it would turn at once, and so move the other way.
        return False
    frames = np.arange(len(seen.x))
    path = world.bounce(round(float(travelled)) + frames * world.SPEED_PX, length)
    path = length - path if dx + dy < 0 else path
    still = np.full(len(path), across)
    wanted = np.stack([path, still] if dx else [still, path], 1)
    return bool(np.mean(np.abs(seen.corners - wanted).max(1) <= 3) >= 0.85)
