"""The world: what is held out, and that its latents' table shows what its pictures show."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from engines.families.sprite import codes, reading, world
from engines.families.sprite.stage import Moment, Scene, State
from engines.families.sprite.training.drawing import Kind, draw


def test_about_one_pattern_in_twelve_and_one_named_in_ten_are_held_out() -> None:
    patterns = [world.Pattern((a, b, c, d)) for a, b, c, d in product(range(6), repeat=4) if len({a, b, c, d}) > 1]
    named = [(world.Named(c, s), sky) for c in range(6) for s in range(4) for sky in range(6, 10)]
    assert len(patterns) == 1290
    assert 1 / 15 < np.mean([world.pattern_is_held_out(p) for p in patterns]) < 1 / 9
    assert 1 / 15 < np.mean([world.named_is_held_out(n, sky) for n, sky in named]) < 1 / 6


def test_training_draws_none_that_is_held_out_and_the_scorer_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for held_out in (True, False):
        drawn = [world.random_pattern(rng, held_out=held_out) for _ in range(50)]
        assert {world.pattern_is_held_out(pattern) for pattern in drawn} == {held_out}


@pytest.mark.parametrize("canvas", world.CANVASES.values())
@pytest.mark.parametrize("kind", ["root", "turn", "stay", "wait", "along", "return"])
def test_a_latents_codes_show_exactly_what_its_frames_show(kind: Kind, canvas: tuple[int, int]) -> None:
    rng, grid, table = np.random.default_rng(1), world.grid_of(canvas), codes.pixels()
    for _ in range(3):
        sample = draw(rng, kind, grid, "stable")
        for moment in (*sample.past, *sample.target):
            frames = sample.scene.frames(moment, grid)
            tiles = table[sample.scene.codes(moment, grid)]
            assert (tiles.transpose(2, 0, 3, 1, 4, 5).reshape(frames.shape) == frames).all()
            seen, purity = reading.labels(frames[-1])
            assert (seen == sample.scene.labels(moment, grid)).all()
            assert purity.min() == 1


def test_a_subject_that_waits_leaves_the_frame_as_the_camera_pans() -> None:
    grid = world.Grid(5, 5)
    scene = Scene(6, world.random_scenery(np.random.default_rng(0)), (world.Named(0, 0),))
    begin, end = State(0, ((0, 1),)), State(1, ((0, 1),))
    assert end.column_on_screen(0) == world.RING - 1
    frames = scene.frames(Moment(begin, end, 1), grid)
    red = (frames == world.PALETTE[0]).all(-1)[:, : 16 * grid.sky_rows].sum((1, 2))
    assert red.tolist() == [16 * 12, 16 * 8, 16 * 4, 0]
