"""What directions do, what they leave open and what cannot be."""

from __future__ import annotations

import pytest

from engines.families.sprite.directing import Action, RefusedError, Take, perform, written_out
from engines.families.sprite.stage import Place
from engines.families.sprite.world import RING, Grid

GRID = Grid(5, 9)


def path(take: Take, action: Action, subject: int = 0) -> list[Place]:
    moments, _ = perform(take, written_out(take, [action], "holds", GRID), "holds", GRID)
    return [moment.after.places[subject] for moment in moments]


def test_a_subject_turns_back_at_the_frames_walls() -> None:
    assert path(Take.at(0, [(7, 0)]), "right") == [(8, 0), (7, 0), (6, 0), (5, 0)]
    assert path(Take.at(0, [(4, 1)]), "up") == [(4, 0), (4, 1), (4, 2), (4, 3)]
    assert path(Take.at(30, [(30, 3)]), "down") == [(30, 2), (30, 1), (30, 0), (30, 1)]


def test_what_goes_on_is_written_out_after_a_bounce_and_rests_after_a_pan() -> None:
    _, take = perform(Take.at(0, [(7, 0)]), ["right"], "holds", GRID)
    assert written_out(take, ["goes on"], "holds", GRID) == ("left",)
    assert written_out(take, [None], "holds", GRID) == ("left",)
    assert written_out(take, [None], "pans right", GRID) == ("stays",)
    _, take = perform(take, ["goes along"], "pans left", GRID)
    assert written_out(take, [None], "holds", GRID) == ("stays",)


def test_who_goes_along_stays_in_the_frame_and_who_waits_in_the_world() -> None:
    take = Take.at(0, [(4, 0), (4, 2)])
    moments, after = perform(take, ["goes along", "stays"], "pans left", GRID)
    assert after.state.offset == RING - 4
    assert after.state.places == ((0, 0), (4, 2))
    assert [m.after.column_on_screen(0) for m in moments] == [4, 4, 4, 4]
    assert [m.after.column_on_screen(1) for m in moments] == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("places", "actions"),
    [
        ([(3, 1), (5, 1)], ["right", "stays"]),
        ([(3, 1), (4, 1)], ["right", "right"]),
        ([(3, 1), (5, 1)], ["right", "left"]),
        ([(3, 0), (3, 2)], ["down", "up"]),
    ],
)
def test_subjects_that_would_meet_are_refused(places: list[Place], actions: list[Action]) -> None:
    with pytest.raises(RefusedError, match="would meet: let one of them stay"):
        perform(Take.at(0, places), actions, "holds", GRID)


def test_one_that_goes_along_may_not_run_into_one_that_waits() -> None:
    with pytest.raises(RefusedError, match="would meet"):
        perform(Take.at(0, [(3, 1), (5, 1)]), ["goes along", "stays"], "pans right", GRID)
    perform(Take.at(0, [(3, 1), (5, 1)]), ["goes along", "stays"], "pans left", GRID)


@pytest.mark.parametrize(
    ("offset", "action", "camera", "match"),
    [
        (16, "left", "holds", "it is off-screen and waits there: `the camera pans right` for 3 seconds brings it"),
        (3, "goes along", "pans right", "it is off-screen and waits there: `the camera pans left` for 1 second brings"),
        (0, "goes along", "holds", "goes along only while the camera pans"),
        (0, "up", "pans left", "while the camera pans left it can wait"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(offset: int, action: Action, camera: str, match: str) -> None:
    with pytest.raises(RefusedError, match=match):
        written_out(Take.at(offset, [(2, 1)]), [action], camera, GRID)  # type: ignore[arg-type]


def test_one_that_is_off_screen_and_not_mentioned_waits() -> None:
    assert written_out(Take.at(16, [(2, 1)]), [None], "holds", GRID) == ("stays",)


def test_two_that_go_along_side_by_side_never_meet() -> None:
    moments, _ = perform(Take.at(0, [(3, 1), (4, 1)]), ["goes along", "goes along"], "pans right", GRID)
    assert [m.after.column_on_screen(1) - m.after.column_on_screen(0) for m in moments] == [1] * 4
