"""The sentence that says all that a second films, with nothing left open: the effective prompt. Written, and read back.

Users are shown it, records keep it, and `history` acts it out again wherever a segment is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from engines.families.sprite import words
from engines.families.sprite.casting import Noun
from engines.families.sprite.directing import STEPS, Action, Camera
from engines.families.sprite.stage import Moment, Place
from engines.families.sprite.world import COLOUR_NAMES, SHAPE_NAMES, SKY_NAMES, Grid

NOBODY: Final = "nobody"
_OFF_SCREEN: Final = "a place off-screen"
_WHERE: Final = rf"(?:column \d+, row \d+|{_OFF_SCREEN})"
_SENTENCE: Final = re.compile(
    rf"(?P<subjects>.+) under a (?P<sky>{'|'.join(SKY_NAMES)}) sky, the camera (?P<camera>holds|pans left|pans right)"
)
_SUBJECT: Final = re.compile(
    rf"(?:a (?P<colour>{'|'.join(COLOUR_NAMES)}) (?P<shape>{'|'.join(SHAPE_NAMES)})|(?P<name><ref\d>|it))"
    rf" at (?:column (?P<column>\d+), row (?P<row>\d+)|{_OFF_SCREEN})"
    rf" (?:(?P<rests>stays|goes along)|moves (?P<way>{'|'.join(STEPS)}))(?:, turns back)?(?:, ends at {_WHERE})?"
)


@dataclass(frozen=True)
class Told:
    """What a sentence says."""

    nouns: tuple[Noun, ...]
    actions: tuple[Action, ...]
    places: tuple[Place, ...]
    """On the screen, where it begins; (0, 0) for one that is off-screen."""
    sky: str
    camera: Camera


def sentence(nouns: Sequence[Noun], moments: Sequence[Moment], sky: str, camera: Camera, grid: Grid) -> str:
    """`a red bar at column 7, row 1 moves right, turns back, ends at column 5, row 1 under a navy sky, ...`.

    Columns are those of the frame, rows count from its top, both from 1.
    """
    parts = [_subject(noun, subject, moments, grid) for subject, noun in enumerate(nouns)]
    return f"{' and '.join(parts) or NOBODY} under a {sky} sky, the camera {camera}"


def read(text: str, grid: Grid) -> Told:
    """What `sentence` wrote. Raises `ValueError` for anything else."""
    whole = _SENTENCE.fullmatch(text)
    if whole is None:
        raise ValueError(f"effective_prompt: {text[:100]!r} is no sentence of this model's")
    nouns: list[Noun] = []
    actions: list[Action] = []
    places: list[Place] = []
    for part in whole["subjects"].split(" and ") if whole["subjects"] != NOBODY else ():
        found = _SUBJECT.fullmatch(part)
        if found is None:
            raise ValueError(f"effective_prompt: {part[:100]!r} names no subject of this model's")
        nouns.append((found["name"], "<pad>") if found["name"] else (found["colour"], found["shape"]))
        actions.append(cast("Action", found["rests"] or found["way"]))
        place = (int(found["column"]) - 1, int(found["row"]) - 1) if found["column"] else (0, 0)
        if not (0 <= place[0] < grid.cols and 0 <= place[1] < grid.sky_rows):
            raise ValueError(f"effective_prompt: {part[:100]!r} is outside the frame")
        places.append(place)
    return Told(tuple(nouns), tuple(actions), tuple(places), whole["sky"], cast("Camera", whole["camera"]))


def _subject(noun: Noun, subject: int, moments: Sequence[Moment], grid: Grid) -> str:
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
    return _OFF_SCREEN if col >= grid.cols else f"column {col + 1}, row {row + 1}"
