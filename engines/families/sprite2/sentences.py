"""Writes what a second films as a sentence, with nothing left open: the effective prompt that users are shown."""

from __future__ import annotations

from collections.abc import Sequence

from engines.families.sprite2 import words
from engines.families.sprite2.directing import Camera
from engines.families.sprite2.stage import Moment
from engines.families.sprite2.world import Grid


def sentence(nouns: Sequence[tuple[str, str]], moments: Sequence[Moment], sky: str, camera: Camera, grid: Grid) -> str:
    """`a red bar at column 7, row 1 moves right, turns back, ends at column 5, row 1 under a navy sky, ...`.

    Columns are those of the frame, rows count from its top, both from 1.
    """
    parts = [_subject(noun, subject, moments, grid) for subject, noun in enumerate(nouns)]
    return f"{' and '.join(parts) or 'nobody'} under a {sky} sky, the camera {camera}"


def _subject(noun: tuple[str, str], subject: int, moments: Sequence[Moment], grid: Grid) -> str:
    name = noun[0] if noun[1] == "<pad>" else f"a {noun[0]} {noun[1]}"
    begin = _where(moments[0], subject, grid, at_end=False)
    end = _where(moments[-1], subject, grid, at_end=True)
    motions = [words.motion(moment, subject) for moment in moments]
    deed = motions[0] if motions[0] in ("stays", "goes along") else f"moves {motions[0]}"
    turned = ", turns back" if len(set(motions)) > 1 else ""
    return f"{name} at {begin} {deed}{turned}" + ("" if begin == end else f", ends at {end}")


def _where(moment: Moment, subject: int, grid: Grid, *, at_end: bool) -> str:
    state = moment.after if at_end else moment.before
    col, row = state.column_on_screen(subject), state.places[subject][1]
    return "a place off-screen" if col >= grid.cols else f"column {col + 1}, row {row + 1}"
