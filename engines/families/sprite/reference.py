"""What a reference picture of the sprite model can carry: a named sprite, or 4x4 blocks of six colours.

Any picture is read into one of the two and drawn anew, cleanly; the model is shown that drawing.  The
reading is returned with the video, so that a user sees what was understood, and its fidelity says how much
of the picture it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.families.sprite import world
from engines.families.sprite.decode import BLOCK, decode
from engines.families.sprite.world import F32, I64, SPRITE_PX, U8

SAME_COLOUR: Final = 60.0
"""RGB distance below which two colours count as about the same."""
FAR: Final = 200.0
"""RGB distance from which on a colour counts as not carried at all."""
SHAPE_FIT: Final = 0.75
"""Least overlap with a shape for a picture to be taken as a named sprite."""
EXACT_FIT: Final = 0.9
"""Least overlap, and share of one colour, for a picture that is a sprite of this world already."""
_LEAST_PX: Final = 8
"""A smaller thing on a plain ground is not cut out."""


@dataclass(frozen=True)
class PictureReading:
    """A picture as the model takes it."""

    grid: I64
    """[4, 4]: index of the palette colour of each block of 8 pixels."""
    colours: tuple[str, ...]
    """Names of the colours in it, the most frequent first."""
    fidelity: float
    """How like the picture the drawing is, 0 to 1, from the pixels' mean RGB distance (FAR counts as 0)."""
    picture: U8
    """uint8 [32, 32, 3]: the drawing that is really encoded."""
    sprite: world.Sprite

    def describe(self) -> str:
        """The reading in words."""
        if isinstance(self.sprite, world.Named):
            name = f"{world.COLOUR_NAMES[self.sprite.colour]} {world.SHAPE_NAMES[self.sprite.shape]}"
            return f"a {name} ({self.fidelity:.0%} alike)"
        rows = " / ".join(" ".join(world.COLOUR_NAMES[i] for i in row) for row in self.grid)
        return f"4x4 blocks, row by row: {rows} ({self.fidelity:.0%} alike)"


def read_reference(rgb: U8) -> PictureReading:
    """Read a picture, uint8 [32, 32, 3].  Every picture has a reading; see `fidelity`."""
    if rgb.shape != (SPRITE_PX, SPRITE_PX, 3) or rgb.dtype != np.uint8:
        raise ValueError(f"reference: {rgb.dtype} {rgb.shape}; expected uint8 [32, 32, 3], crop and scale it first")
    exact = _exactly_named(rgb)
    if exact is not None:
        return exact
    ground, thing = _on_plain_ground(rgb)
    cut = rgb if thing is None else _cut_out(rgb, thing)
    label = nearest_colour(cut)
    grid = np.array(
        [
            [np.bincount(label[y : y + 8, x : x + 8].ravel(), minlength=6).argmax() for x in range(0, 32, 8)]
            for y in range(0, 32, 8)
        ],
        np.int64,
    )
    sprite: world.Sprite = world.Pattern(tuple(int(c) for c in grid.ravel()))
    background = 0
    named = None if thing is None else _named(rgb, thing)
    if named is not None and ground is not None:
        sprite = named
        background = int(((world.BACKGROUND_RGB.astype(np.float32) - ground) ** 2).sum(-1).argmin())
        grid = np.full((4, 4), named.colour)
    drawing = world.picture(sprite, background)
    seen = cut if named is None else rgb
    fidelity = _fidelity(seen, drawing)
    if named is not None and thing is not None:
        # A shape that is smaller than the picture, or off its middle, is still that shape.
        fidelity = max(fidelity, _overlap(_scaled(thing), world.SHAPE_MASKS[named.shape]))
    counts = Counter(int(c) for c in grid.ravel())
    return PictureReading(
        grid=grid,
        colours=tuple(world.COLOUR_NAMES[c] for c, _ in counts.most_common()),
        fidelity=fidelity,
        picture=drawing,
        sprite=sprite,
    )


def _exactly_named(rgb: U8) -> PictureReading | None:
    """A picture that is drawn as this world draws a named sprite, noise apart."""
    seen = decode(rgb[None])
    shape, colour = int(seen.shape[0]), int(seen.colour[0])
    if not 0 <= shape < BLOCK or seen.fit[0] < EXACT_FIT or seen.purity[0] < EXACT_FIT:
        return None
    if max(abs(float(seen.x[0])), abs(float(seen.y[0]))) > 2:
        return None
    sprite = world.Named(colour, shape)
    drawing = world.picture(sprite, int(seen.background[0]))
    if (_distance(rgb, drawing) < SAME_COLOUR).mean() < EXACT_FIT:
        return None
    names = (world.COLOUR_NAMES[colour],)
    return PictureReading(np.full((4, 4), colour), names, _fidelity(rgb, drawing), drawing, sprite)


def _distance(a: U8, b: U8) -> F32:
    """RGB distance of each pixel."""
    result: F32 = np.sqrt(((a.astype(np.float32) - b) ** 2).sum(-1))
    return result


def _fidelity(picture: U8, drawing: U8) -> float:
    return float(np.clip(1 - _distance(picture, drawing) / FAR, 0, 1).mean())


def nearest_colour(rgb: U8) -> I64:
    """The palette colour that each pixel [..., 3] is most like; hue counts more than lightness."""
    lab = _oklab(rgb)
    palette = _oklab(world.COLOUR_RGB)
    weight = np.array([0.5, 1.0, 1.0], np.float32)
    distance = (((lab[..., None, :] - palette) * weight) ** 2).sum(-1)
    nearest: I64 = distance.argmin(-1)
    return nearest


def _oklab(rgb: U8) -> F32:
    """sRGB to OKLab (Ottosson, 2020), a space in which distances are about as they are seen."""
    value = rgb.astype(np.float32) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_lms = np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
         [0.0883024619, 0.2817188376, 0.6299787005]]
    )  # fmt: skip
    to_lab = np.array(
        [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
         [0.0259040371, 0.7827717662, -0.8086757660]]
    )  # fmt: skip
    result: F32 = (np.cbrt(linear @ to_lms.T) @ to_lab.T).astype(np.float32)
    return result


def _on_plain_ground(rgb: U8) -> tuple[F32 | None, npt.NDArray[np.bool_] | None]:
    """The ground's colour and the mask [32, 32] of what stands on it, or two times None.

    A ground in one of the palette's own colours is no ground: it may be a part of a pattern.
    """
    pixels = rgb.astype(np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    # The corners alone: a thing that fills the picture touches its sides.
    ends = np.r_[0:3, -3:0]
    ground = np.median(pixels[np.ix_(ends, ends)].reshape(-1, 3), axis=0)
    near_ground = np.sqrt(((border - ground) ** 2).sum(-1)) < SAME_COLOUR
    palette = np.sqrt(((world.COLOUR_RGB.astype(np.float32) - ground) ** 2).sum(-1))
    if palette.min() < SAME_COLOUR or near_ground.mean() < 0.3:
        return None, None
    thing = np.sqrt(((pixels - ground) ** 2).sum(-1)) >= SAME_COLOUR
    rows, cols = np.flatnonzero(thing.any(1)), np.flatnonzero(thing.any(0))
    if len(rows) < _LEAST_PX or len(cols) < _LEAST_PX:
        return None, None
    if min(np.ptp(rows), np.ptp(cols)) + 1 < _LEAST_PX:
        return None, None
    return ground.astype(np.float32), thing


def _box(thing: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest box around a mask."""
    rows, cols = np.flatnonzero(thing.any(1)), np.flatnonzero(thing.any(0))
    return slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)


def _stretch(count: int) -> I64:
    """Nearest-neighbour indices that bring `count` pixels to 32."""
    return (np.arange(SPRITE_PX) * count) // SPRITE_PX


def _cut_out(rgb: U8, thing: npt.NDArray[np.bool_]) -> U8:
    """What stands on the ground, enlarged to the whole picture."""
    cut = rgb[_box(thing)]
    return cut[_stretch(cut.shape[0])][:, _stretch(cut.shape[1])]


def _scaled(thing: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    cut = thing[_box(thing)]
    return cut[_stretch(cut.shape[0])][:, _stretch(cut.shape[1])]


def _overlap(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def _named(rgb: U8, thing: npt.NDArray[np.bool_]) -> world.Named | None:
    """The named sprite that stands on the ground, if it clearly is one: one colour and one of the shapes."""
    colours = np.bincount(nearest_colour(rgb[thing]), minlength=6)
    if colours.max() < 0.9 * colours.sum():
        return None
    mask = _scaled(thing)
    fits = [_overlap(mask, shape) for shape in world.SHAPE_MASKS]
    best = int(np.argmax(fits))
    ends = np.r_[0:3, -3:0]
    is_box = bool(mask[np.ix_(ends, ends)].all()) and fits[best] <= mask.mean()
    if fits[best] < SHAPE_FIT or is_box:
        return None
    return world.Named(int(colours.argmax()), best)
