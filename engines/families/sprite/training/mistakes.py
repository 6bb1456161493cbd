"""Histories that went wrong: what a video shows of a subject, when it is not what words and references say.

`data.py` trains extensions on some of them. Whoever is trained on faultless histories alone copies a subject from the
latent before, a fault in it too, and keeps that fault for good, although the reference shows it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from engines.families.sprite.stage import Scene
from engines.families.sprite.world import COLOURS, SHAPES, Art, Pattern

SHARE: Final = 0.15
"""Of the histories, those in which the subjects that are told of elsewhere may be wrong."""
_WRONG: Final = 0.7
"""Of such subjects, those that are."""


def misremembered(scene: Scene, told: Sequence[bool], rng: np.random.Generator) -> Scene:
    """The scene as its history shows it. `told`: for each subject, whether anything else tells what it is."""
    if rng.random() >= SHARE:
        return scene
    return replace(
        scene,
        subjects=tuple(
            _mistaken(art, rng) if tells and rng.random() < _WRONG else art
            for art, tells in zip(scene.subjects, told, strict=True)
        ),
    )


def _mistaken(art: Art, rng: np.random.Generator) -> Art:
    """One block of a pattern in another colour; a named subject of another colour or shape."""
    if isinstance(art, Pattern):
        a, b, c, d = art.colours
        wrong = [a, b, c, d]
        wrong[int(rng.integers(4))] = int(rng.integers(len(COLOURS)))
        return Pattern((wrong[0], wrong[1], wrong[2], wrong[3]))
    if rng.random() < 0.5:
        return replace(art, colour=int(rng.integers(len(COLOURS))))
    return replace(art, shape=int(rng.integers(len(SHAPES))))
