"""Judges filmed videos by what their pixels show, against what the directions say and what was shown before.

Everything is read at the ends of latent frames, block by block; "exact" means that all blocks are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engines.families.sprite.training.filming import Video
from engines.families.sprite.world import I64

GHOST_BLOCKS = 2
"""Foreign blocks in one token that count as something drawn where nothing is."""


@dataclass(frozen=True)
class Verdict:
    """One segment's sky area: subjects and sky, at all latent ends."""

    exact: bool
    sky: bool
    """The blocks where nobody is show the sky that was asked for."""
    place: bool
    """Where each visible subject should be, something stands."""
    identity: bool
    """Each visible subject has all its blocks at its place."""
    ghost: bool
    """Something stands where nothing should be."""
    swapped: bool
    """One subject's blocks stand at the other's place."""


def judge(video: Video, segment: int = -1) -> Verdict:
    """One segment of a video; the last one unless said."""
    begin, end = video.segments[segment]
    exact, sky, place, identity, ghost, swapped = True, True, True, True, False, False
    arts = [art.blocks(video.scene.sky) for art, _ in video.nouns]
    for number in range(begin, end):
        moment = video.moments[number]
        wanted, shown = video.scene.labels(moment, video.grid)[:-2], video.labels[number][:-2]
        exact &= bool((wanted == shown).all())
        free = np.ones_like(shown, bool)
        for subject, art in enumerate(arts):
            col, row = moment.after.column_on_screen(subject), moment.after.places[subject][1]
            if col >= video.grid.cols:
                continue
            here = slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2)
            free[here] = False
            place &= bool((shown[here] != video.scene.sky).any())
            identity &= bool((shown[here] == art).all())
            swapped |= len(arts) > 1 and bool((shown[here] == arts[1 - subject]).all())
        foreign = free & (shown != video.scene.sky)
        sky &= not foreign.any()
        ghost |= bool((_by_token(foreign) >= GHOST_BLOCKS).any())
    return Verdict(exact, sky, place, identity, ghost, swapped)


def returns(video: Video) -> Iterator[tuple[int, bool]]:
    """Scenery that was shown, away, and is shown again at the end of a segment: (segments away, exactly as at first).

    The first look is that at the end of the first segment that shows a cell.
    """
    first: dict[int, I64] = {}
    seen: dict[int, int] = {}
    for segment, (_, end) in enumerate(video.segments):
        state, shown = video.moments[end - 1].after, video.labels[end - 1][-2:]
        for at, column in enumerate(state.view(video.grid.cols)):
            cell = shown[:, 2 * at : 2 * at + 2]
            away = segment - seen.get(column, segment) - 1
            if column in first and away > 0:
                yield away, bool((cell == first[column]).all())
            first.setdefault(column, cell)
            seen[column] = segment


def as_given(video: Video, begin: int = 0, end: int | None = None) -> Iterator[bool]:
    """Of each cell at the ends of these latents whether it is exactly as the scene has it."""
    for number in range(len(video.moments))[begin:end]:
        moment = video.moments[number]
        same = video.labels[number][-2:] == video.scene.labels(moment, video.grid)[-2:]
        yield from (bool(cell.all()) for cell in np.split(same, video.grid.cols, 1))


def _by_token(blocks: I64) -> I64:
    rows, cols = blocks.shape
    counted: I64 = blocks.reshape(rows // 2, 2, cols // 2, 2).sum((1, 3))
    return counted
