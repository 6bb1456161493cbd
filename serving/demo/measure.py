"""Reads the demo's results back from their pixels: what a video really shows, and whether it stayed the same.

From the MP4 as a user has it, through the codec. `page.py` prints it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engines.families.sprite import decode, world
from serving.media.still import contact_sheet, frames_of, native

_SHEET_FRAMES = 16
_COLUMNS = 8


def readings(frames: NDArray[np.uint8], scale: int) -> dict[str, str]:
    """What frames, uint8 [T, h, w, 3] of a native size times `scale`, show; in words."""
    found = decode.decode(native(frames, scale))
    halves = {"first second": slice(0, 17), "last second": slice(-16, None)} if len(frames) > 33 else {"": slice(None)}
    out = {}
    for name, part in halves.items():
        out[f"shows {name}".strip()] = _subject(found, part)
    background = world.BACKGROUND_NAMES[_most(found.background)]
    out["background"] = f"{background} in {np.mean(found.background == _most(found.background)):.0%} of frames"
    if len(frames) > 1:
        out["moves"] = _motion(found)
    return out


def in_words(found: dict[str, str]) -> str:
    """What `readings` found, on one line."""
    shown = {name.removeprefix("shows").strip(): value for name, value in found.items() if name.startswith("shows")}
    if len(shown) > 1 and len(set(shown.values())) == 1:
        shown = {" and ".join(shown): next(iter(shown.values()))}
    parts = [f"{when}: {value}" if when else value for when, value in shown.items()]
    return "; ".join([*parts, *(f"{name} {found[name]}" for name in ("background", "moves") if name in found)])


def sheet(frames: NDArray[np.uint8], fps: int) -> bytes:
    """A contact sheet of up to 16 frames over the whole length, PNG."""
    picks = np.unique(np.linspace(0, len(frames) - 1, _SHEET_FRAMES).round().astype(int))
    step = max(1, frames.shape[2] // 196)
    captions = [f"{pick / fps:.2f} s" for pick in picks]
    return contact_sheet(frames[picks][:, ::step, ::step], columns=_COLUMNS, captions=captions)


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """Frames of an MP4, or the one of a PNG: uint8 [T, h, w, 3]."""
    if path.suffix == ".mp4":
        return frames_of(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))[None]


def _subject(found: decode.Readback, part: slice) -> str:
    shape, colour = _most(found.shape[part]), _most(found.colour[part])
    if shape == decode.BLOCK:
        grids = Counter(tuple(int(v) for v in grid.flat) for grid in found.grid[part])
        grid, times = grids.most_common(1)[0]
        colours = sorted({world.COLOUR_NAMES[i] for i in grid if 0 <= i < len(world.COLOUR_NAMES)})
        return f"a pattern of {', '.join(colours)}, the same in {times / sum(grids.values()):.0%} of frames"
    if decode.NEITHER in {shape, colour}:
        return "nothing that can be named"
    same = np.mean((found.shape[part] == shape) & (found.colour[part] == colour))
    return f"a {world.COLOUR_NAMES[colour]} {world.SHAPE_NAMES[shape]} in {same:.0%} of frames"


def _motion(found: decode.Readback) -> str:
    steps = np.abs(np.diff(found.corners, axis=0))
    steady = np.mean((steps.max(1) >= 2) & (steps.max(1) <= 6) & (steps.min(1) <= 2))
    first = found.corners[min(4, len(found.corners) - 1)] - found.corners[0]
    if np.isnan(first).any():
        return f"4 pixels a frame in {steady:.0%} of steps"
    horizontal = abs(first[0]) >= abs(first[1])
    way = ("right" if first[0] > 0 else "left") if horizontal else ("down" if first[1] > 0 else "up")
    return f"{way} at first, 4 pixels a frame in {steady:.0%} of steps"


def _most(values: NDArray[np.int64]) -> int:
    return int(Counter(int(v) for v in values).most_common(1)[0][0])
