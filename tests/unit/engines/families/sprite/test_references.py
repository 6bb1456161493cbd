"""What is read from a picture, and what its owner is told of what was lost."""

from __future__ import annotations

import numpy as np
import pytest

from engines.families.base import Frames
from engines.families.sprite.references import read_scene, read_subject
from engines.families.sprite.world import FIRST_SKY, PALETTE, SKY_NAMES, Named, Pattern, picture


def plain(colour: tuple[int, int, int], height: int = 16, width: int = 16) -> Frames:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("sky", range(FIRST_SKY, FIRST_SKY + 4))
@pytest.mark.parametrize("art", [Named(0, 2), Pattern((0, 1, 2, 3))])
def test_a_picture_of_this_world_is_read_without_a_word_over_any_sky(sky: int, art: Named | Pattern) -> None:
    read = read_subject(picture(art, sky))
    assert read.warning is None
    assert (read.picture == picture(art, SKY_NAMES.index("black") + FIRST_SKY)).all()


def test_a_plain_colour_that_is_none_of_the_palettes_is_told_as_the_one_that_it_was_read_as() -> None:
    assert read_subject(plain((240, 120, 20))).warning == (
        "the picture has other colours than this model's references carry; it was read as a red square"
    )
    assert read_subject(plain((250, 30, 30))).warning is None


def test_a_photograph_has_more_detail() -> None:
    noise = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    told = read_subject(noise).warning
    assert told is not None
    assert told.startswith(
        "the picture has more detail than this model's references carry; it was read as a pattern of"
    )


def test_of_a_scene_both_its_edge_and_its_sky_are_told() -> None:
    sunset = plain((240, 120, 20), 80, 144)
    assert read_scene(sunset).warning == (
        "the picture has other colours than this model's scenery carries; its bottom edge was read block by block, as "
        "red; most of what is above its bottom edge is no sky of this model's; it was read as a grey one"
    )
    sunset[-16:] = PALETTE[1]
    assert read_scene(sunset).warning == (
        "most of what is above its bottom edge is no sky of this model's; it was read as a grey one"
    )
    sunset[:-16] = PALETTE[FIRST_SKY + 2]
    read = read_scene(sunset)
    assert (read.warning, read.description) == (None, "scenery under a navy sky")
