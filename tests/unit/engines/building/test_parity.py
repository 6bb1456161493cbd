"""How far two answers are apart, in three ways, and what is allowed of each precision."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from engines.building import parity
from engines.building.parity import BANDS, Difference, Levels, Parity, Row

NONE = Difference(0.0, 0.0, 0.0)


def of(difference: Difference, *, precision: str = "float32", batch: int = 1) -> Parity:
    return Parity((Row("dit", batch, difference),), NONE, Levels(0.0, 0.0), {"dit": precision})


def test_a_difference_is_told_by_its_largest_its_mean_and_its_angle() -> None:
    wanted = np.array([3.0, 4.0, 0.0, 0.0])
    found = np.array([3.0, 4.0, 0.0, 1.0])
    assert parity.difference(wanted, wanted) == pytest.approx((0, 0, 0))
    assert parity.difference(wanted, found) == pytest.approx((1 / 4, 1 / 7, 1 - 5 / math.sqrt(26)))
    assert parity.difference(wanted, 2 * wanted) == pytest.approx((1, 1, 0))
    assert parity.difference(np.zeros(2), np.zeros(2)) == NONE


@pytest.mark.parametrize("found", [np.ones(3), np.array([1.0, np.nan]), np.array([1.0, np.inf])])
def test_another_shape_and_what_is_no_number_are_beyond_everything(found: np.ndarray) -> None:
    worst = parity.worse(NONE, parity.difference(np.ones(2), found))
    assert all(map(math.isnan, worst))
    assert of(worst, precision="bfloat16").problems() == [
        "dit in bfloat16, B=1, gives what is no number, or of another shape"
    ]


@pytest.mark.parametrize("precision", BANDS)
@pytest.mark.parametrize("way", range(3))
def test_each_way_is_held_by_itself_and_says_by_how_much_and_where(precision: str, way: int) -> None:
    allowed = BANDS[precision].call
    assert of(allowed, precision=precision).problems() == []
    beyond = allowed._replace(**{allowed._fields[way]: 1.5 * allowed[way]})
    [problem] = of(beyond, precision=precision, batch=64).problems()
    assert problem.startswith("dit, B=64," if precision == "float32" else f"dit in {precision}, B=64,")
    assert f"{beyond[way]:.2g}" in problem
    assert problem.endswith(f"(at most {allowed[way]:g})")


def test_half_is_allowed_more_and_bfloat16_most_and_whole_runs_as_much_as_their_coarsest_component() -> None:
    names = ["float32", "float16", "bfloat16"]
    for less, more in pairwise(names):
        for small, large in zip(BANDS[less].call, BANDS[more].call, strict=True):
            assert small < large
    rows = (Row("vae", 1, NONE), Row("dit", 1, NONE))
    run = BANDS["bfloat16"].run
    found = Parity(rows, run, Levels(0.0, 0.0), {"vae": "float32", "dit": "bfloat16"})
    assert found.problems() == []
    assert Parity(rows, run, Levels(0.0, 0.0), {"vae": "float32", "dit": "float16"}).problems() != []
