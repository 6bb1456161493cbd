"""Histories that went wrong: only what is told of elsewhere is wrong in them, and each in one thing."""

from __future__ import annotations

import numpy as np

from engines.families.sprite.stage import Scene
from engines.families.sprite.training.drawing import draw_scene
from engines.families.sprite.training.mistakes import SHARE, misremembered
from engines.families.sprite.world import Named, Pattern

DRAWN = 600


def _drawn(told: tuple[bool, bool]) -> list[tuple[Scene, Scene]]:
    rng = np.random.default_rng(5)
    scenes = [draw_scene(rng, 2)[0] for _ in range(DRAWN)]
    return [(scene, misremembered(scene, told, rng)) for scene in scenes]


def test_some_histories_are_wrong_and_most_are_not() -> None:
    wrong = sum(history != scene for scene, history in _drawn((True, True)))

    assert 0 < wrong < 1.5 * SHARE * DRAWN


def test_a_subject_that_nothing_else_tells_of_is_remembered_as_it_was() -> None:
    for scene, history in _drawn((False, True)):
        assert history.subjects[0] == scene.subjects[0]
        assert (history.sky, history.scenery is scene.scenery) == (scene.sky, True)


def test_a_subject_is_wrong_in_one_thing() -> None:
    for scene, history in _drawn((True, True)):
        for art, shown in zip(scene.subjects, history.subjects, strict=True):
            if isinstance(art, Pattern):
                assert isinstance(shown, Pattern)
                assert sum(a != b for a, b in zip(art.colours, shown.colours, strict=True)) <= 1
            else:
                assert isinstance(shown, Named)
                assert art.colour == shown.colour or art.shape == shown.shape
