"""What is remembered: as much as the target needs, and by each rule the view that it names."""

from __future__ import annotations

import numpy as np
import pytest

from engines.families.sprite.directing import Camera, Take, perform
from engines.families.sprite.memory import Rule, Views, needed, recall
from engines.families.sprite.stage import Moment, State, still
from engines.families.sprite.world import Grid

GRID = Grid(5, 9)


def film(*cameras: Camera) -> list[Moment]:
    take = Take.at(0, [])
    moments = [still(take.state)]
    for camera in cameras:
        found, take = perform(take, [], camera, GRID)
        moments += found
    return moments


def test_a_pan_needs_four_columns_whatever_came_before_and_a_hold_none() -> None:
    for past in (["holds"], ["pans right"] * 3, ["pans right"] * 40):
        begin = film(*past)[-1].after  # type: ignore[arg-type]
        take = Take.at(begin.offset, [])
        assert len(needed(begin, perform(take, [], "pans left", GRID)[0], GRID.cols)) == 4
        assert needed(begin, perform(take, [], "holds", GRID)[0], GRID.cols) == ()


def test_columns_are_needed_in_the_order_in_which_they_come_in() -> None:
    begin = State(0, ())
    assert needed(begin, perform(Take.at(0, []), [], "pans left", GRID)[0], GRID.cols) == (31, 30, 29, 28)
    assert needed(begin, perform(Take.at(0, []), [], "pans right", GRID)[0], GRID.cols) == (9, 10, 11, 12)
    moments = (still(begin), *perform(Take.at(0, []), [], "pans right", GRID)[0])
    assert needed(None, moments, GRID.cols) == tuple(range(13))


def seen(rule: Rule, pictures: list[int]) -> Views:
    """A view of nine columns, again and again; the first one shows what `pictures` say."""
    views = Views(rule)
    for number, value in enumerate(pictures):
        columns = [np.full((10, 2), value if i == 0 else 9) for i in range(GRID.cols)]
        views.see(number, State(0, ()), columns)
    return views


def test_stable_keeps_the_first_view_until_something_else_stands_there() -> None:
    views = seen("stable", [1, 1, 1, 2, 2, 2])
    assert views.latents[0] == 3
    assert views.latents[1] == 0
    assert seen("newest", [1, 1, 1, 2, 2, 2]).latents == dict.fromkeys(range(9), 5)


def test_a_change_in_one_block_of_a_column_is_enough() -> None:
    views = Views("stable")
    labels = np.full((10, 2), 5)
    views.see(0, State(0, ()), [labels])
    changed = labels.copy()
    changed[3, 1] = 2
    views.see(1, State(0, ()), [changed])
    assert views.latents == {0: 1}


@pytest.mark.parametrize(("rule", "found"), [("stable", {0: 0}), ("none", {})])
def test_only_what_was_seen_is_recalled(rule: Rule, found: dict[int, int]) -> None:
    views = seen(rule, [1])
    assert recall((0, 20), views, [State(0, ())], GRID.cols) == found


def test_random_views_come_from_latents_that_showed_the_column() -> None:
    states = [moment.after for moment in film("holds", "pans right", "pans right", "pans right")]
    views = Views("random")
    found = recall((0, 1), views, states, GRID.cols, np.random.default_rng(3))
    assert all(column in states[number].view(GRID.cols) for column, number in found.items())
    with pytest.raises(ValueError, match="rng: the rule random draws from it"):
        recall((0,), views, states, GRID.cols)
