"""A first frame is read for all that it shows."""

from __future__ import annotations

import numpy as np
import pytest

from engines.families.sprite import reading, world
from engines.families.sprite.directing import Take
from engines.families.sprite.stage import Scene, still
from engines.families.sprite.world import Named, Pattern

ARTS = (Named(3, 2), Pattern((0, 1, 2, 2)))


@pytest.mark.parametrize("canvas", world.CANVASES.values())
@pytest.mark.parametrize("sky", range(6, 10))
def test_sky_scenery_subjects_and_places_are_found(canvas: tuple[int, int], sky: int) -> None:
    grid = world.grid_of(canvas)
    scene = Scene(sky, world.random_scenery(np.random.default_rng(sky)), ARTS)
    frame = scene.frames(still(Take.at(0, [(2, 1), (4, 3)]).state), grid)[0]
    seen = reading.look(frame)
    assert seen.sky == sky
    assert (seen.scenery == scene.scenery[:, : 2 * grid.cols]).all()
    assert seen.subjects == ((ARTS[0], (2, 1)), (ARTS[1], (4, 3)))
    assert seen.left_out == 0


def test_every_named_subject_is_known_by_its_name() -> None:
    grid = world.Grid(5, 5)
    for colour in range(6):
        for shape in range(4):
            scene = Scene(9, np.zeros((2, 2 * world.RING), np.int64), (Named(colour, shape),))
            frame = scene.frames(still(Take.at(0, [(1, 1)]).state), grid)[0]
            assert reading.look(frame).subjects == ((Named(colour, shape), (1, 1)),)


def test_any_picture_is_read_as_far_as_it_goes() -> None:
    seen = reading.look(np.random.default_rng(0).integers(256, size=(80, 144, 3), dtype=np.uint8))
    assert len(seen.subjects) <= 2
    assert seen.left_out > 0
