"""What stands where on the stage, latent frame by latent frame, and how that looks.

A `Scene` never changes in a video: its sky, its scenery, its subjects' art. A `Moment` is one latent frame: the state
before and after it. Columns are those of the ring, rows count from the top of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.families.sprite import codes
from engines.families.sprite.world import (
    BLOCK_PX,
    FRAMES_PER_LATENT,
    I64,
    PALETTE,
    RING,
    U8,
    Art,
    Grid,
)

Place = tuple[int, int]
"""(column of the ring, row) in tokens."""
_QUARTERS = 4
"""Cells of 4 pixels along a token: the step of a frame."""


@dataclass(frozen=True)
class State:
    """Where camera and subjects are at the end of a latent frame."""

    offset: int
    """The ring's column at the frame's left edge."""
    places: tuple[Place, ...]
    """Of each subject."""

    def column_on_screen(self, subject: int) -> int:
        """The subject's column in the frame; as many as the frame has or more: it is off-screen."""
        return (self.places[subject][0] - self.offset) % RING

    def view(self, cols: int) -> tuple[int, ...]:
        """The ring's columns that a frame of so many shows, from left to right."""
        return tuple((self.offset + i) % RING for i in range(cols))


@dataclass(frozen=True)
class Moment:
    """One latent frame."""

    before: State
    after: State
    pan: int
    """1: the camera goes right by one column, -1: left, 0: it holds."""

    def moves(self, subject: int) -> bool:
        """Whether the subject changes its place in the world."""
        return self.before.places[subject] != self.after.places[subject]


def still(state: State) -> Moment:
    """A video's first latent frame: one picture."""
    return Moment(state, state, 0)


@dataclass(frozen=True)
class Scene:
    """What a video shows."""

    sky: int
    """A label."""
    scenery: I64
    """Labels [2, 2 RING]."""
    subjects: tuple[Art, ...] = ()

    def labels(self, moment: Moment, grid: Grid) -> I64:
        """What the frame shows at the latent's end, [2 rows, 2 cols]."""
        return self._layer(moment, grid, hidden=())[:, _blocks_of(moment.after.offset, grid.cols)]

    def codes(self, moment: Moment, grid: Grid) -> I64:
        """The latent frame as codes, [2 rows, 2 cols]."""
        movers = _movers(moment)
        layer = self._layer(moment, grid, hidden=movers)
        blocks = _blocks_of(moment.after.offset, grid.cols)
        seen = layer[:, blocks]
        if moment.pan:
            # The camera goes right: the world goes left through the frame.
            before = layer[:, (blocks - 2 * moment.pan) % (2 * RING)]
            between = layer[:, (blocks - moment.pan) % (2 * RING)]
            seen = (
                codes.moving("left", before, between, seen)
                if moment.pan > 0
                else codes.moving("right", seen, between, before)
            )
        for subject in movers:
            self._paste(seen, moment, subject)
        return seen

    def _paste(self, seen: I64, moment: Moment, subject: int) -> None:
        """Write a moving subject over the codes of a frame."""
        art = self.subjects[subject].blocks(self.sky)
        col, row = moment.after.column_on_screen(subject), moment.after.places[subject][1]
        if moment.pan:  # it goes along: it stays where it is in the frame
            seen[2 * row : 2 * row + 2, 2 * col : 2 * col + 2] = art
            return
        old_col, old_row = moment.before.column_on_screen(subject), moment.before.places[subject][1]
        if row == old_row:
            window = _passing(art, self.sky, "right" if col > old_col else "left")
        else:
            window = _passing(art.T, self.sky, "down" if row > old_row else "up").T
        left, top = 2 * min(col, old_col), 2 * min(row, old_row)
        seen[top : top + window.shape[0], left : left + window.shape[1]] = window

    def frames(self, moment: Moment, grid: Grid) -> U8:
        """The latent's four frames as they ideally look, uint8 [4, H, W, 3]."""
        movers = _movers(moment)
        fine = np.kron(self._layer(moment, grid, hidden=movers), np.ones((2, 2), np.int64))
        shown = []
        for step in range(1, FRAMES_PER_LATENT + 1):
            left = _QUARTERS * moment.before.offset + moment.pan * step
            frame = fine[:, (left + np.arange(_QUARTERS * grid.cols)) % (_QUARTERS * RING)]
            for subject in movers:
                ends = [(s.column_on_screen(subject), s.places[subject][1]) for s in (moment.before, moment.after)]
                x, y = (_QUARTERS * a + step * (b - a) for a, b in zip(*ends, strict=True))
                art = np.kron(self.subjects[subject].blocks(self.sky), np.ones((2, 2), np.int64))
                frame[y : y + _QUARTERS, x : x + _QUARTERS] = art
            shown.append(np.kron(frame, np.ones((BLOCK_PX // 2, BLOCK_PX // 2), np.int64)))
        frames: U8 = PALETTE[np.stack(shown)]
        return frames

    def panorama(self, grid: Grid) -> I64:
        """Labels of the whole ring without subjects, [2 rows, 2 RING]."""
        layer = np.full((2 * grid.rows, 2 * RING), self.sky)
        layer[-2:] = self.scenery
        return layer

    def _layer(self, moment: Moment, grid: Grid, *, hidden: tuple[int, ...]) -> I64:
        """Labels of the whole ring at the latent's end, without the hidden subjects."""
        layer = self.panorama(grid)
        for subject, (col, row) in enumerate(moment.after.places):
            if subject not in hidden:
                layer[2 * row : 2 * row + 2, 2 * col : 2 * col + 2] = self.subjects[subject].blocks(self.sky)
        return layer


def _movers(moment: Moment) -> tuple[int, ...]:
    return tuple(i for i in range(len(moment.after.places)) if moment.moves(i))


def _blocks_of(offset: int, cols: int) -> I64:
    return (2 * offset + np.arange(2 * cols)) % (2 * RING)


def _passing(art: I64, sky: int, heading: codes.Heading) -> I64:
    """Codes of the two tokens through which a subject goes in a latent frame, [2, 4] along its way.

    For a vertical way the caller transposes, before and after.
    """
    begin = 4 if heading in ("right", "down") else 2
    line = np.full((2, 8), sky)
    line[:, begin : begin + 2] = art
    if heading in ("right", "down"):
        return codes.moving(heading, line[:, 2:6], line[:, 3:7], line[:, 4:8])
    return codes.moving(heading, line[:, 0:4], line[:, 1:5], line[:, 2:6])
