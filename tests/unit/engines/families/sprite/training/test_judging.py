"""The judge: the truth passes, and each kind of fault fails where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from engines.families.sprite import world
from engines.families.sprite.directing import Camera, Take
from engines.families.sprite.stage import Moment, Scene
from engines.families.sprite.training.filming import Video
from engines.families.sprite.training.judging import as_given, judge, returns
from engines.families.sprite.world import F32, U8

GRID = world.Grid(5, 9)
NOUNS = ((world.Named(0, 0), None), (world.Pattern((1, 2, 3, 1)), 1))


def video(*places: tuple[int, int]) -> Video:
    nouns = NOUNS[: len(places)]
    scene = Scene(7, world.random_scenery(np.random.default_rng(0)), tuple(art for art, _ in nouns))
    return Video(scene, nouns, GRID, Take.at(0, places))


def shown(made: Video, moments: tuple[Moment, ...]) -> U8:
    return np.stack([made.scene.frames(moment, GRID)[-1] for moment in moments])


def add(made: Video, moments: tuple[Moment, ...], ends: U8) -> None:
    nothing: F32 = np.zeros((len(moments), GRID.rows * GRID.cols, 64), np.float32)
    made.add(moments, nothing, ends)


def test_the_truth_is_exact() -> None:
    made = video((1, 3), (4, 2))
    for direction in ((["right", "up"], "holds"), (["goes along", "stays"], "pans left")):
        moments = made.direct(direction)  # type: ignore[arg-type]
        add(made, moments, shown(made, moments))
    for segment in (0, 1):
        verdict = judge(made, segment)
        assert verdict.exact
        assert verdict.sky
        assert verdict.place
        assert verdict.identity
        assert not verdict.ghost
        assert not verdict.swapped
    assert all(as_given(made))


def test_a_subject_in_two_places_is_a_ghost() -> None:
    made = video((1, 1))
    moments = made.direct((["stays"], "holds"))
    ends = shown(made, moments)
    ends[2, 16:32, 96:112] = ends[2, 16:32, 16:32]
    add(made, moments, ends)
    verdict = judge(made)
    assert verdict.identity
    assert verdict.ghost
    assert not verdict.exact


def test_subjects_that_change_places_are_swapped() -> None:
    made = video((1, 1), (4, 1))
    moments = made.direct((["stays", "stays"], "holds"))
    ends = shown(made, moments)
    one, other = ends[:, 16:32, 16:32].copy(), ends[:, 16:32, 64:80].copy()
    ends[:, 16:32, 16:32], ends[:, 16:32, 64:80] = other, one
    add(made, moments, ends)
    verdict = judge(made)
    assert verdict.swapped
    assert verdict.place
    assert not verdict.identity


@pytest.mark.parametrize("faulty", [False, True])
def test_scenery_that_comes_back_is_compared_with_its_first_look(*, faulty: bool) -> None:
    made = video()
    cameras: list[Camera] = ["holds", "pans right", "holds", "pans left"]
    for number, camera in enumerate(cameras):
        moments = made.direct(([], camera))
        ends = shown(made, moments)
        if faulty and number == 3:
            ends[:, 64:72, :8] = 255 - ends[:, 64:72, :8]
        add(made, moments, ends)
    found = list(returns(made))
    assert [away for away, _ in found] == [2] * 4
    assert [exact for _, exact in found] == [not faulty, True, True, True]
