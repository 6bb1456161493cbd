"""The decoder must call ground truth right always, and call nothing right that is not there."""

import numpy as np
import pytest

from engines.families.sprite import world
from engines.families.sprite.decode import attributes, decode, judge


def film(sprite: world.Sprite, background: int, direction: int, canvas: tuple[int, int], length: int = 17) -> world.U8:
    lane = world.lane_places(world.along_and_across(canvas, direction)[1])[1]
    return world.clip(sprite, background, canvas, world.path(canvas, direction, 0, lane, np.arange(length)))


@pytest.mark.parametrize("canvas", list(world.CANVASES.values()))
def test_ground_truth_is_right_in_every_respect(canvas: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    sprites: list[world.Sprite] = [world.Named(n % 6, n % 4) for n in range(12)]
    sprites += [world.random_pattern(rng, colours=1 + n % 6) for n in range(12)]
    for n, sprite in enumerate(sprites):
        verdict = judge(film(sprite, n % 4, n // 3 % 4, canvas), sprite, n % 4, n // 3 % 4)
        assert verdict.all
        assert verdict.velocity
        assert verdict.smooth
        assert verdict.blocks == 1


def test_noise_is_nothing() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3), dtype=np.uint8)
    verdict = judge(frames, world.Named(0, 0), 0, 0)
    assert not any((verdict.identity, verdict.direction, verdict.velocity))


def test_the_wrong_colour_shape_background_and_direction_are_each_noticed() -> None:
    frames = film(world.Named(0, 0), 0, 0, (64, 112))
    assert not judge(frames, world.Named(1, 0), 0, 0).colour
    assert not judge(frames, world.Named(0, 1), 0, 0).shape
    assert not judge(frames, world.Named(0, 0), 1, 0).background
    assert not judge(frames, world.Named(0, 0), 0, 1).direction
    assert not judge(frames, world.Named(0, 0), 0, 2).velocity


def test_one_wrong_block_is_another_identity() -> None:
    pattern = world.Pattern((0, 1, 2, 3) * 4)
    other = world.Pattern((5, *pattern.blocks[1:]))
    verdict = judge(film(pattern, 0, 0, (64, 64)), other, 0, 0)
    assert not verdict.identity
    assert verdict.blocks == pytest.approx(15 / 16)


def test_a_jump_at_a_seam_is_noticed() -> None:
    frames = film(world.Named(0, 0), 0, 1, (64, 112))
    near, far = np.array([-4, 16], np.float32), np.array([60, 16], np.float32)
    assert judge(frames, world.Named(0, 0), 0, 1, previous=near).smooth
    assert not judge(frames, world.Named(0, 0), 0, 1, previous=far).smooth


def test_place_and_blocks_are_exact() -> None:
    pattern = world.Pattern(tuple(range(6)) + tuple(range(6)) + (0, 1, 2, 3))
    seen = decode(world.clip(pattern, 2, (64, 112), [[13, 7], [80, 32]]))
    assert seen.corners.tolist() == [[13, 7], [80, 32]]
    assert np.array_equal(seen.grid[0], pattern.grid())


def test_a_video_is_told_in_words() -> None:
    found = attributes(film(world.Named(5, 2), 2, 3, (112, 64)))
    assert (found.colour, found.shape, found.background, found.direction) == (
        "cyan",
        "triangle",
        "navy",
        "down",
    )
    assert found.pattern is None
    pattern = attributes(film(world.Pattern((0, 1, 2, 3) * 4), 0, 1, (64, 64))).pattern
    assert pattern is not None
    assert pattern[0] == ("red", "green", "blue", "yellow")


def test_frames_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        decode(np.zeros((1, 64, 64, 3), np.float32))
