"""Any picture has a reading, and a picture of this world has exactly its own."""

import numpy as np
import pytest

from engines.families.sprite import world
from engines.families.sprite.reference import read_reference


def noisy(picture: world.U8, seed: int) -> world.U8:
    noise = np.random.default_rng(seed).integers(-20, 21, picture.shape)
    noised: world.U8 = np.clip(picture.astype(np.int64) + noise, 0, 255).astype(np.uint8)
    return noised


@pytest.mark.parametrize("background", range(4))
def test_each_named_sprite_is_recognised_on_each_background(background: int) -> None:
    for colour in range(6):
        for shape in range(4):
            sprite = world.Named(colour, shape)
            picture = world.picture(sprite, background)
            assert read_reference(picture).sprite == sprite
            assert read_reference(noisy(picture, colour)).sprite == sprite


def test_patterns_of_up_to_six_colours_are_read_block_by_block() -> None:
    rng = np.random.default_rng(0)
    for n in range(60):
        pattern = world.random_pattern(rng, colours=1 + n % 6)
        reading = read_reference(noisy(world.picture(pattern, 0), n))
        assert reading.sprite == pattern
        assert np.array_equal(reading.picture, world.picture(pattern, 0))
        assert reading.fidelity > 0.85


def test_a_clean_pattern_is_carried_wholly() -> None:
    reading = read_reference(world.picture(world.Pattern((0, 1, 2, 3) * 4), 0))
    assert reading.fidelity == 1
    assert set(reading.colours) == {"red", "green", "blue", "yellow"}


def test_a_small_disc_on_white_paper_is_a_circle() -> None:
    y, x = np.mgrid[:32, :32]
    picture = np.full((32, 32, 3), 255, np.uint8)
    picture[(y - 15) ** 2 + (x - 17) ** 2 < 100] = (200, 20, 20)
    reading = read_reference(picture)
    assert reading.sprite == world.Named(world.COLOUR_NAMES.index("red"), world.SHAPE_NAMES.index("circle"))
    assert "red circle" in reading.describe()


def test_a_picture_that_cannot_be_carried_has_a_low_fidelity() -> None:
    for picture in (
        np.full((32, 32, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8),
    ):
        reading = read_reference(picture)
        assert 0 <= reading.fidelity < 0.5
        assert reading.picture.shape == (32, 32, 3)
        assert set(reading.grid.ravel()) <= set(range(6))


def test_another_size_is_refused_with_the_fix() -> None:
    with pytest.raises(ValueError, match="crop and scale"):
        read_reference(np.zeros((64, 64, 3), np.uint8))
