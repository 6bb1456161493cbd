"""The words that the net sees of a segment's directions, with nothing left open, each at its place.

Fourteen slots: for each of two subjects what it is (colour and shape, or `<ref1>`, or `it`) and what it does in each of
the four latent frames to come; then the sky and the camera. The words of what it is stand (on the ring and in their
row) where the subject is, those of what it does where each latent frame will leave it. So a bounce off a wall is
written out, too, and the net need not know the walls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.families.sprite.directing import CAMERAS, PANS, SEGMENT_LATENTS, STEPS
from engines.families.sprite.stage import Moment
from engines.families.sprite.world import (
    COLOUR_NAMES,
    FIRST_SKY,
    I64,
    RING,
    SHAPE_NAMES,
    SKY_NAMES,
    SUBJECTS_MAX,
    Art,
    Grid,
    Named,
)

SUBJECT_SLOTS: Final = 2 + SEGMENT_LATENTS
SLOTS: Final = SUBJECTS_MAX * SUBJECT_SLOTS + 2
VOCAB: Final = (
    *("<pad>", "<ref1>", "<ref2>", "it", "stays", "goes along"),
    *STEPS,
    *COLOUR_NAMES,
    *SHAPE_NAMES,
    *SKY_NAMES,
    *CAMERAS,
)
_IDS: Final = {word: i for i, word in enumerate(VOCAB)}


@dataclass(frozen=True)
class Words:
    """The slots of one segment."""

    ids: I64
    """[14]"""
    stand: I64
    """[14, 2]: column of the ring, and row counted from the bottom; words that stand nowhere are at (0, 0)."""


def noun(art: Art, reference: int | None) -> tuple[str, str]:
    """What a subject is called: by its reference (its number, from 0), by name, or `it` where neither can."""
    if reference is not None:
        return f"<ref{reference + 1}>", "<pad>"
    if isinstance(art, Named):
        return COLOUR_NAMES[art.colour], SHAPE_NAMES[art.shape]
    return "it", "<pad>"


def write(nouns: Sequence[tuple[str, str]], moments: Sequence[Moment], sky: int | None, grid: Grid) -> Words:
    """The slots for a target whose last four moments are these; `sky` is a label, None where it is not told."""
    moments = moments[-SEGMENT_LATENTS:]
    ids = np.zeros(SLOTS, np.int64)
    stand = np.zeros((SLOTS, 2), np.int64)
    for subject, words in enumerate(nouns):
        begin = subject * SUBJECT_SLOTS
        places = [moments[0].before.places[subject]] * 2 + [m.after.places[subject] for m in moments]
        ids[begin : begin + SUBJECT_SLOTS] = [
            *(_IDS[word] for word in _in_slot(words, subject)),
            *(_IDS[motion(moment, subject)] for moment in moments),
        ]
        stand[begin : begin + SUBJECT_SLOTS] = [(col, grid.rows - 1 - row) for col, row in places]
    ids[-2] = 0 if sky is None else _IDS[SKY_NAMES[sky - FIRST_SKY]]
    pan = moments[0].pan
    ids[-1] = _IDS[next(camera for camera, direction in PANS.items() if direction == pan)]
    return Words(ids, stand)


def _in_slot(words: tuple[str, str], subject: int) -> tuple[str, str]:
    """What the net sees of a name: whatever a reference's number, it is shown in its subject's slot."""
    return (f"<ref{subject + 1}>", words[1]) if words[0].startswith("<ref") else words


def motion(moment: Moment, subject: int) -> str:
    """What a subject does in one latent frame."""
    if not moment.moves(subject):
        return "stays"
    if moment.pan:
        return "goes along"
    (x0, y0), (x1, y1) = moment.before.places[subject], moment.after.places[subject]
    screen = moment.before.offset
    step = ((x1 - screen) % RING - (x0 - screen) % RING, y1 - y0)
    return next(name for name, delta in STEPS.items() if delta == step)
