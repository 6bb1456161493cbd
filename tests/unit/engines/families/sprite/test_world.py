"""The world must be what the model and the decoder take it for."""

import numpy as np
import pytest

from engines.families.sprite import world


def test_a_sprite_moves_one_token_per_latent_and_turns_at_the_wall() -> None:
    right = world.DIRECTION_NAMES.index("right")
    corners = world.path((64, 112), right, 0, 1, np.arange(0, 41, 4))
    assert corners[:, 0].tolist() == [0, 16, 32, 48, 64, 80, 64, 48, 32, 16, 0]
    assert (corners[:, 1] == 16).all()


def test_left_is_right_seen_in_a_mirror() -> None:
    left, right = world.DIRECTION_NAMES.index("left"), world.DIRECTION_NAMES.index("right")
    frames = np.arange(60)
    there = world.path((64, 112), left, 1, 0, frames)[:, 0]
    assert np.array_equal(there, 80 - world.path((64, 112), right, 1, 0, frames)[:, 0])


@pytest.mark.parametrize("canvas", list(world.CANVASES.values()))
@pytest.mark.parametrize("direction", range(4))
def test_no_sprite_ever_leaves_its_canvas(canvas: tuple[int, int], direction: int) -> None:
    for lane in world.lane_places(world.along_and_across(canvas, direction)[1]):
        corners = world.path(canvas, direction, 3, lane, np.arange(200))
        assert corners.min() >= 0
        assert (corners[:, 0] <= canvas[1] - world.SPRITE_PX).all()
        assert (corners[:, 1] <= canvas[0] - world.SPRITE_PX).all()


def test_held_out_patterns_and_trained_ones_never_meet() -> None:
    rng = np.random.default_rng(0)
    for colours in range(2, 7):
        trained = world.random_pattern(rng, colours=colours)
        held_out = world.random_pattern(rng, held_out=True, colours=colours)
        assert len(set(trained.blocks)) == len(set(held_out.blocks)) == colours
        assert not world.pattern_is_held_out(trained)
        assert world.pattern_is_held_out(held_out)


def test_about_one_combination_in_ten_is_held_out() -> None:
    held_out = [c for c in world.COMBINATIONS if world.combination_is_held_out(c)]
    assert 25 <= len(held_out) <= 50
    assert {c for c, *_ in held_out} == set(range(6))


def test_a_picture_shows_its_blocks() -> None:
    pattern = world.Pattern(tuple(i % 6 for i in range(16)))
    picture = world.picture(pattern, 0)
    assert picture.shape == (32, 32, 3)
    assert tuple(picture[9, 1]) == world.COLOURS["purple"]
