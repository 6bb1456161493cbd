"""The world that sprite-2 films: a ring of scenery wider than the frame, a camera, one or two subjects.

Everything is made of blocks of 8 pixels, each of one of ten labels: six colours and four skies. A token is 2x2 blocks
(16x16 pixels) of 4 frames. The bottom row of tokens is scenery, blocks of any colour; above it is sky, where the
subjects are, one token each. Camera and subjects move by whole tokens: 4 pixels a frame, one token a latent frame.

`stage` says what stands where and paints it, `directing` who moves how, `memory` what is remembered of it. Training
draws its videos here, the scorer its truth, and the serving family takes the constants.
"""

from __future__ import annotations

import zlib
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
BLOCK_PX: Final = 8
SPEED_PX: Final = 4
SUBJECTS_MAX: Final = 2

CANVASES: Final[dict[str, tuple[int, int]]] = {"16:9": (80, 144), "1:1": (80, 80), "9:16": (144, 80)}
"""(height, width) in pixels by aspect ratio."""
RING: Final = 32
"""Columns of scenery, one token wide each; the last one is followed by the first."""

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (228, 30, 36),
    "green": (28, 180, 50),
    "blue": (40, 100, 245),
    "yellow": (248, 222, 30),
    "purple": (190, 40, 215),
    "cyan": (40, 215, 235),
}
SKIES: Final[dict[str, tuple[int, int, int]]] = {
    "grey": (128, 128, 128),
    "white": (246, 246, 246),
    "navy": (24, 20, 105),
    "black": (8, 8, 8),
}
SHAPES: Final[dict[str, tuple[int, int, int, int]]] = {
    "square": (1, 1, 1, 1),
    "slash": (0, 1, 1, 0),
    "bar": (1, 1, 0, 0),
    "corner": (1, 0, 1, 1),
}
"""Which of a subject's 2x2 blocks, row by row, are of its colour; the sky shows through the others."""

COLOUR_NAMES: Final = tuple(COLOURS)
SKY_NAMES: Final = tuple(SKIES)
SHAPE_NAMES: Final = tuple(SHAPES)
PALETTE: Final[U8] = np.array([*COLOURS.values(), *SKIES.values()], np.uint8)
"""[10, 3]: the colour of each label, colours before skies."""
LABELS: Final = len(PALETTE)
FIRST_SKY: Final = len(COLOURS)
"""The label of the first sky."""


@dataclass(frozen=True)
class Grid:
    """A canvas in tokens."""

    rows: int
    cols: int

    @property
    def sky_rows(self) -> int:
        """Rows above the scenery: 0 is the top one."""
        return self.rows - 1


def grid_of(canvas: tuple[int, int]) -> Grid:
    """The grid of a (height, width) canvas in pixels."""
    return Grid(canvas[0] // TOKEN_PX, canvas[1] // TOKEN_PX)


@dataclass(frozen=True)
class Named:
    """A subject that words can name: indices into COLOUR_NAMES and SHAPE_NAMES."""

    colour: int
    shape: int

    def blocks(self, sky: int) -> I64:
        """Its labels over a sky (its label), [2, 2]."""
        mask = np.array(SHAPES[SHAPE_NAMES[self.shape]], bool).reshape(2, 2)
        return np.where(mask, self.colour, sky)


@dataclass(frozen=True)
class Pattern:
    """A subject that only a picture can tell: the colours of its 2x2 blocks, row by row."""

    colours: tuple[int, int, int, int]

    def blocks(self, sky: int) -> I64:
        """Its labels, [2, 2], over any sky."""
        del sky
        return np.array(self.colours, np.int64).reshape(2, 2)


Art = Named | Pattern


def pattern_is_held_out(pattern: Pattern) -> bool:
    """True for the patterns (one in twelve) that training never shows."""
    return zlib.crc32(bytes(pattern.colours)) % 12 == 0


def named_is_held_out(named: Named, sky: int) -> bool:
    """True for the colour, shape and sky (about one in ten) that no words in training name together."""
    return zlib.crc32(b"named" + bytes((named.colour, named.shape, sky))) % 10 == 0


def random_named(rng: np.random.Generator) -> Named:
    """Each colour and shape alike."""
    return Named(int(rng.integers(len(COLOURS))), int(rng.integers(len(SHAPES))))


def random_pattern(rng: np.random.Generator, *, held_out: bool = False) -> Pattern:
    """A pattern of at least two colours, trained or held out."""
    while True:
        a, b, c, d = (int(v) for v in rng.integers(len(COLOURS), size=4))
        pattern = Pattern((a, b, c, d))
        if len({a, b, c, d}) > 1 and pattern_is_held_out(pattern) == held_out:
            return pattern


def random_scenery(rng: np.random.Generator) -> I64:
    """Labels of the whole ring's scenery, [2, 2 RING]: every block any colour."""
    return rng.integers(len(COLOURS), size=(2, 2 * RING))


def painted(blocks: I64) -> U8:
    """Labels [h, w] of blocks as a picture, uint8 [8h, 8w, 3]."""
    shown: U8 = PALETTE[np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX), np.int64))]
    return shown


def picture(art: Art, sky: int) -> U8:
    """A subject alone as a reference shows it, uint8 [16, 16, 3]."""
    blocks = art.blocks(sky)
    return painted(blocks)
