"""What training draws: by what the target asks, with its subjects on the screen."""

from __future__ import annotations

import numpy as np
import pytest

from engines.families.sprite import world
from engines.families.sprite.memory import Rule
from engines.families.sprite.training.drawing import Kind, draw, draw_scene
from engines.families.sprite.training.plans import draw_plan, draw_video

GRID = world.Grid(5, 5)


@pytest.mark.parametrize("kind", ["turn", "stay", "wait", "along"])
def test_someone_is_on_the_screen_as_the_target_begins(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        sample = draw(rng, kind, GRID, "stable", subjects=2)
        begin = sample.target[0].before
        assert any(begin.column_on_screen(i) < GRID.cols for i in range(2))
        assert all(m.pan == 0 for m in sample.target) == (kind in ("turn", "stay"))
        assert sample.past[-1].after == begin


def test_a_return_is_shown_every_column_that_it_needs() -> None:
    rng = np.random.default_rng(0)
    rules: tuple[Rule, ...] = ("stable", "newest")
    for rule in rules:
        for _ in range(20):
            sample = draw(rng, "return", GRID, rule)
            assert len(sample.memory) == 4
            for column, moment in sample.memory.items():
                assert column in moment.after.view(GRID.cols)
                assert moment in sample.past


def test_the_scorer_draws_what_training_never_shows() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        scene, nouns = draw_scene(rng, 2, held_out=True)
        for art, reference in nouns:
            if reference is not None:
                assert isinstance(art, world.Pattern)
                assert world.pattern_is_held_out(art)
        first = nouns[0]
        if first[1] is None:
            assert isinstance(first[0], world.Named)
            assert world.named_is_held_out(first[0], scene.sky)


def test_a_plan_keeps_its_subjects_on_the_screen() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        video = draw_video(rng, GRID, 2)
        for direction in draw_plan(rng, video, [None] * 6):
            for moment in video.direct(direction):
                state = moment.after
            assert all(state.column_on_screen(i) < GRID.cols for i in range(2))
