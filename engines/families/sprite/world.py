"""The world that the sprite model films: one sprite that bounces between the walls of a plain canvas.

Everything is made of whole tokens.  A token is 16x16 pixels of 4 frames (one patch of 2x2 latents); a
sprite is 2x2 tokens, moves 4 pixels a frame, that is one token per latent frame, and stands on the token
grid at each latent's end.  So a piece of sprite has the same latents wherever it is, and a model can copy
it token by token.

Training makes its clips here, the scorer its ground truth, and the serving family takes the constants.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

FPS: Final = 16
FRAMES_PER_LATENT: Final = 4
LATENT_CHANNELS: Final = 16
LATENT_PX: Final = 8
TOKEN_PX: Final = 16
SPRITE_PX: Final = 32
BLOCK_PX: Final = 8
SPEED_PX: Final = 4

CANVASES: Final[dict[str, tuple[int, int]]] = {"1:1": (64, 64), "16:9": (64, 112), "9:16": (112, 64)}
"""(height, width) in pixels by aspect ratio."""

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (228, 30, 36),
    "green": (28, 180, 50),
    "blue": (40, 100, 245),
    "yellow": (248, 222, 30),
    "purple": (190, 40, 215),
    "cyan": (40, 215, 235),
}
BACKGROUNDS: Final[dict[str, tuple[int, int, int]]] = {
    "grey": (128, 128, 128),
    "white": (246, 246, 246),
    "navy": (24, 20, 105),
    "black": (8, 8, 8),
}
DIRECTIONS: Final[dict[str, tuple[int, int]]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
"""(dx, dy) of one step."""

# Shapes are 8x8 cells of 4 pixels.  They differ in whole latents of 8 pixels: finer differences are the
# last thing that a decoder learns to keep in motion.
_ART: Final[dict[str, str]] = {
    "circle": "...##... .######. .######. ######## ######## .######. .######. ...##...",
    "square": "######## ######## ##....## ##....## ##....## ##....## ######## ########",
    "triangle": "...##... ...##... ..####.. ..####.. .######. .######. ######## ########",
    "cross": "##....## ##....## ..####.. ..####.. ..####.. ..####.. ##....## ##....##",
}

COLOUR_NAMES: Final = tuple(COLOURS)
BACKGROUND_NAMES: Final = tuple(BACKGROUNDS)
DIRECTION_NAMES: Final = tuple(DIRECTIONS)
SHAPE_NAMES: Final = tuple(_ART)
LANE_NAMES: Final = ("top", "middle", "bottom")
"""Where the path lies across the motion; for upward and downward motion they count from the left."""

COLOUR_RGB: Final[U8] = np.array(list(COLOURS.values()), np.uint8)
BACKGROUND_RGB: Final[U8] = np.array(list(BACKGROUNDS.values()), np.uint8)
SHAPE_MASKS: Final[npt.NDArray[np.bool_]] = np.stack(
    [np.kron([[c == "#" for c in row] for row in art.split()], np.ones((4, 4), bool)) for art in _ART.values()]
)
"""bool [4, 32, 32], by shape."""


@dataclass(frozen=True)
class Named:
    """A sprite that the captions can name: indices into COLOUR_NAMES and SHAPE_NAMES."""

    colour: int
    shape: int


@dataclass(frozen=True)
class Pattern:
    """A sprite that only a picture can tell: 4x4 blocks of 8 pixels, row by row, as colour indices."""

    blocks: tuple[int, ...]

    def grid(self) -> I64:
        """The blocks as int64 [4, 4]."""
        return np.array(self.blocks, np.int64).reshape(4, 4)


Sprite = Named | Pattern

# Combinations of colour, shape, background and direction: one in ten is never trained from a caption.
Combination = tuple[int, int, int, int]
COMBINATIONS: Final[tuple[Combination, ...]] = tuple(
    (c, s, b, d) for c in range(6) for s in range(4) for b in range(4) for d in range(4)
)


def combination_is_held_out(combination: Combination) -> bool:
    """True for the combinations (about one in ten) that no caption in training names."""
    return zlib.crc32(b"combination" + bytes(combination)) % 10 == 0


def pattern_is_held_out(pattern: Pattern) -> bool:
    """True for the patterns (one in twelve) that training never shows."""
    return zlib.crc32(bytes(pattern.blocks)) % 12 == 0


def random_named(rng: np.random.Generator) -> Named:
    """A named sprite, each colour and shape alike."""
    return Named(int(rng.integers(6)), int(rng.integers(4)))


def random_pattern(rng: np.random.Generator, *, held_out: bool = False, colours: int | None = None) -> Pattern:
    """A pattern of exactly `colours` colours (1 to 6; drawn where None), trained or held out."""
    while True:
        count = int(rng.integers(1, 7)) if colours is None else colours
        palette = rng.choice(6, count, replace=False)
        pattern = Pattern(tuple(int(c) for c in palette[rng.integers(count, size=16)]))
        if len(set(pattern.blocks)) == count and pattern_is_held_out(pattern) == held_out:
            return pattern


def places(canvas: tuple[int, int]) -> tuple[int, int]:
    """How many places on the token grid a sprite has along x and along y of a (height, width) canvas."""
    return canvas[1] // TOKEN_PX - 1, canvas[0] // TOKEN_PX - 1


def along_and_across(canvas: tuple[int, int], direction: int) -> tuple[int, int]:
    """The number of places along the motion and across it."""
    nx, ny = places(canvas)
    return (nx, ny) if DIRECTIONS[DIRECTION_NAMES[direction]][0] else (ny, nx)


def lane_places(across: int) -> tuple[int, int, int]:
    """The places of LANE_NAMES on an axis of `across` places."""
    return 0, (across - 1) // 2, across - 1


def bounce(distance: npt.ArrayLike, length: int) -> I64:
    """Fold a distance travelled into 0..length between two walls."""
    folded = np.asarray(distance, np.int64) % (2 * length)
    return np.where(folded > length, 2 * length - folded, folded)


def path(canvas: tuple[int, int], direction: int, start: int, lane_place: int, frames: npt.ArrayLike) -> I64:
    """The sprite's upper left corner (x, y) in pixels at each of `frames`, int64 [T, 2].

    `start` is how many tokens the sprite has left its wall behind at frame 0 (more than an axis holds means
    that it is already on its way back); `lane_place` its place across the motion.
    """
    dx, dy = DIRECTIONS[DIRECTION_NAMES[direction]]
    length = (along_and_across(canvas, direction)[0] - 1) * TOKEN_PX
    along = bounce(start * TOKEN_PX + np.asarray(frames, np.int64) * SPEED_PX, length)
    if dx + dy < 0:
        along = length - along
    across = np.full_like(along, lane_place * TOKEN_PX)
    return np.stack([along, across] if dx else [across, along], axis=1)


def picture(sprite: Sprite, background: int) -> U8:
    """The sprite alone, uint8 [32, 32, 3]; what a named shape leaves open shows the background."""
    if isinstance(sprite, Pattern):
        still: U8 = COLOUR_RGB[np.kron(sprite.grid(), np.ones((BLOCK_PX, BLOCK_PX), np.int64))]
    else:
        mask = SHAPE_MASKS[sprite.shape][..., None]
        still = np.where(mask, COLOUR_RGB[sprite.colour], BACKGROUND_RGB[background])
    return still


def clip(sprite: Sprite, background: int, canvas: tuple[int, int], corners: Sequence[Sequence[int]] | I64) -> U8:
    """The film of a sprite whose upper left corner goes through `corners` (x, y), uint8 [T, H, W, 3]."""
    frames = np.empty((len(corners), *canvas, 3), np.uint8)
    frames[:] = BACKGROUND_RGB[background]
    still = picture(sprite, background)
    for frame, (x, y) in zip(frames, corners, strict=True):
        frame[y : y + SPRITE_PX, x : x + SPRITE_PX] = still
    return frames
