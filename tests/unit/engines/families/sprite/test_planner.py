"""From prompts to what is filmed: what is kept, what is written out, what cannot be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from engines.families.sprite import words
from engines.families.sprite.captions import parse
from engines.families.sprite.planner import Planned, begin, extend, facts_of
from engines.families.sprite.reading import Sighting
from engines.families.sprite.world import Grid, Named, Pattern

GRID = Grid(5, 9)
AT_A_WALL = "it stands at the frame's wall there, and turns back at once"


def film(prompt: str, *, references: int = 0, seed: int = 3) -> list[Planned]:
    found: list[Planned] = []
    for second in parse(prompt).seconds:
        if found:
            found.append(extend(found[-1].facts, second, seed=seed, grid=GRID))
        else:
            found.append(begin(second, seed=seed, grid=GRID, references=range(references)))
    return found


def test_what_is_said_is_filmed_and_written_out() -> None:
    first, second = film("a red bar at the top right moves right under a black sky; it goes on")
    assert first.effective_prompt == (
        "a red bar at column 9, row 1 moves left, ends at column 5, row 1 under a black sky, the camera holds"
    )
    assert second.effective_prompt == (
        "a red bar at column 5, row 1 moves left, ends at column 1, row 1 under a black sky, the camera holds"
    )
    assert [words.VOCAB[i] for i in second.words.ids[:6]] == ["red", "bar", *["left"] * 4]
    assert first.warnings == (f"not followed: the red bar moves right: {AT_A_WALL}",)
    assert not second.warnings


@pytest.mark.parametrize("way", ["left", "right", "up", "down"])
@pytest.mark.parametrize("who", ["a red bar moves {0}", "a red bar and a blue corner both move {0}"])
def test_where_nobody_asked_for_a_wall_none_is_in_the_way(way: str, who: str) -> None:
    for seed in range(40):
        (planned,) = film(who.format(way), seed=seed)
        assert not planned.warnings
        for number in range(len(planned.facts.nouns)):
            assert words.motion(planned.target[1], number) == way


def test_one_that_is_shown_at_a_wall_and_asked_to_move_into_it_is_told_of() -> None:
    facts = facts_of(Sighting(7, np.zeros((2, 18), np.int64), ((Named(0, 2), (0, 1)),), 0))
    (second,) = parse("it moves left").seconds
    planned = extend(facts, second, seed=0, grid=GRID)
    assert planned.warnings == (f"not followed: the red bar moves left: {AT_A_WALL}",)
    (goes_on,) = parse("it goes on").seconds
    assert not extend(planned.facts, goes_on, seed=0, grid=GRID).warnings


def test_what_a_prompt_does_not_mention_is_kept() -> None:
    seconds = film(
        "a red bar at the top left moves right and <ref1> at the bottom right stays. <ref1> moves left", references=1
    )
    motions = [[words.motion(moment, 0) for moment in s.target[-4:]] for s in seconds]
    assert motions == [["right"] * 4] * 2
    assert [words.motion(moment, 1) for moment in seconds[1].target] == ["left"] * 4


def test_seconds_follow_each_other() -> None:
    seconds = film("a red bar and a blue corner. the camera pans left. both go along. it turns. the camera pans back")
    for one, other in pairwise(seconds):
        assert one.target[-1].after == other.target[0].before
        assert one.facts.nouns == other.facts.nouns
    assert len(seconds[0].target) == 5
    assert [s.target[-1].pan for s in seconds] == [0, -1, -1, 0, 1]


def test_everything_is_drawn_from_the_seed_alone_where_nothing_is_said() -> None:
    assert film("")[0].effective_prompt == film("")[0].effective_prompt
    assert len({film("", seed=seed)[0].effective_prompt for seed in range(8)}) == 8
    told, open_ = film("a yellow slash", seed=5)[0], film("", seed=5)[0]
    assert told.target == open_.target


def test_every_reference_is_shown_whether_words_name_it_or_not() -> None:
    assert film("", references=2)[0].facts.nouns == (("<ref1>", "<pad>"), ("<ref2>", "<pad>"))
    assert film("a red bar", references=1)[0].facts.nouns == (("red", "bar"), ("<ref1>", "<pad>"))


def test_a_third_subject_is_told_not_shown() -> None:
    (planned,) = film("a red bar, a blue square, a green corner")
    assert planned.warnings == ("not followed: green corner (this model shows 2 subjects)",)


@pytest.mark.parametrize(
    ("prompt", "warning"),
    [
        ("a red bar. the green one stops", "not followed: this video has no green"),
        ("a red bar under a black sky. it stays under a white sky", "not followed: sky: white (kept: black)"),
        ("a red bar stays. it goes along, the camera holds", "goes along only while the camera pans"),
        ("a red bar stays. it moves up, the camera pans left", "it can wait (`stays`) or go along"),
    ],
)
def test_what_cannot_be_is_left_out_and_told(prompt: str, warning: str) -> None:
    planned = film(prompt)[-1]
    assert any(warning in told for told in planned.warnings)


@pytest.mark.parametrize(
    ("prompt", "sky", "warnings"),
    [
        ("a white square moves right under a navy sky", "navy", ["white (a sky's colour, and no subject's)"]),
        ("a dark blue square stays under a white sky", "white", ["dark (a sky's colour, and no subject's)"]),
        (
            "under a navy sky, a dark grey bar stays",
            "navy",
            ["dark (a sky's colour, and no subject's)", "grey (a sky's colour, and no subject's)"],
        ),
        ("a red bar stays at night under a white sky", "white", ["sky: black (kept: white)"]),
        ("a white bar stays and a black corner stays", "white", ["black (a sky's colour, and no subject's)"]),
        ("a red bar under a navy sky. the white bar stays", "navy", ["white (a sky's colour, and no subject's)"]),
        ("a white square stays", "white", []),
        ("a red square stays at night", "black", []),
        ("a red bar stays under a dark blue sky", "black", ["sky: navy (kept: black)"]),
    ],
)
def test_what_is_said_of_the_sky_comes_before_what_is_said_of_a_subject(
    prompt: str, sky: str, warnings: list[str]
) -> None:
    planned = film(prompt)[-1]
    assert f"under a {sky} sky" in planned.effective_prompt
    assert list(planned.warnings) == [f"not followed: {warning}" for warning in warnings]


ONE_ACTION = "a second has one action for each, here"
NO_PLACES = "only a video's first second has places"
SIDEWAYS = "it pans left and right only"


@pytest.mark.parametrize(
    ("prompt", "warning"),
    [
        ("a red bar at the centre middle moves left and up", f"the red bar moves up: {ONE_ACTION} `moves left`"),
        ("a red bar and a blue bar both stay and turn", f"everyone turns: {ONE_ACTION} `stays`"),
        ("a red bar. it stays and goes along", f"it goes along: {ONE_ACTION} `stays`"),
        ("a red bar stays, the camera pans left, pans right", "the camera pans right: it pans left"),
        ("a red bar stays. the camera holds, pans left", "the camera pans left: it holds"),
        ("a red bar stays. the camera pans left and back", "the camera pans back: it pans left"),
        ("a red bar stays, the camera pans up", f"the camera pans up: {SIDEWAYS}"),
        ("a red bar stays. the camera moves down", f"the camera pans down: {SIDEWAYS}"),
        ("a red bar stays, the camera pans left and up", f"the camera pans up: {SIDEWAYS}"),
        (
            "a red bar at the top left stays and a blue bar at the top left stays",
            "the blue bar at the top left: another subject is there",
        ),
        ("a red bar at the bottom. it moves up at the top", f"it at the top: {NO_PLACES}"),
        ("a red bar at the right stays. it stays at the left", f"it at the left: {NO_PLACES}"),
        (
            "a red bar at the left. the red bar stays at the bottom right",
            f"the red bar at the bottom right: {NO_PLACES}",
        ),
    ],
)
def test_what_has_no_place_in_a_second_is_told(prompt: str, warning: str) -> None:
    assert film(prompt)[-1].warnings == (f"not followed: {warning}",)


@pytest.mark.parametrize(
    "prompt",
    [
        "a red bar at the centre middle moves left and goes on, to the right of the scene",
        "a red bar at the bottom right moves left along the ground",
        "a red bar at the top of the frame moves down",
        "a red bar stays still and waits, the camera holds still",
        "a red bar stays. the camera pans right. the camera pans back to the left",
        "a red bar at the top left stays. the red bar at the top left moves right",
        "a red bar at the centre stays. the one on the left stays",
        "a red bar at the left stays and a blue bar at the right stays. the one on the right moves left",
    ],
)
def test_what_says_nothing_else_is_not_told_of(prompt: str) -> None:
    assert not film(prompt)[-1].warnings


@pytest.mark.parametrize(
    ("said", "done"),
    [
        ("the camera pans up", "holds"),
        ("the camera moves down", "holds"),
        ("the camera pans up and pans right", "pans right"),
        ("the camera pans up, it goes along", "pans left"),
    ],
)
def test_the_camera_does_not_pan_left_for_up_and_moves_nobody(said: str, done: str) -> None:
    planned = film(f"a red bar at the centre middle stays, the camera pans left. {said}")[-1]
    assert planned.effective_prompt.endswith(f"the camera {done}")
    assert " moves " not in planned.effective_prompt


def test_a_place_that_is_asked_for_is_not_taken_by_one_that_may_stand_anywhere() -> None:
    for seed in range(60):
        (planned,) = film("a red bar stays and a blue bar at the top left stays", seed=seed)
        assert "a blue bar at column 1, row 1" in planned.effective_prompt
        assert not planned.warnings


def test_one_that_is_off_screen_waits_until_the_camera_comes_back() -> None:
    seconds = film(
        "a red bar at the top left stays. the camera pans right. the camera pans right. it moves up. "
        "the camera pans left. the camera pans left. it moves down"
    )
    assert "off-screen and waits there" in seconds[3].warnings[0]
    assert seconds[3].effective_prompt.startswith("a red bar at a place off-screen stays")
    assert seconds[-1].effective_prompt.startswith("a red bar at column 1, row 1 moves down")
    assert not seconds[-1].warnings


@pytest.mark.parametrize("seed", range(40))
def test_what_nobody_asked_for_is_in_no_ones_way(seed: int) -> None:
    (planned,) = film("<ref1> at the top left moves right and <ref2>", references=2, seed=seed)
    assert not planned.warnings
    assert not film("two: a red bar, a blue square", seed=seed)[0].warnings


AWAY = "a red bar at the top left stays. the camera pans right. the camera pans right. "
IN_THE_WAY = (
    "a red bar at the left middle stays and a blue corner at the centre middle stays. "
    "the camera pans right, both go along. the red one goes along, the blue one stays"
)


@pytest.mark.parametrize(
    ("prompt", "camera"),
    [
        (AWAY + "it goes along", "holds"),  # nobody asked for a pan: it would show nobody
        (AWAY + "the camera pans right and it goes along", "pans right"),
        (IN_THE_WAY, "holds"),
    ],
)
def test_the_camera_follows_nobody_who_cannot_go_along(prompt: str, camera: str) -> None:
    planned = film(prompt, seed=2)[-1]
    assert planned.effective_prompt.endswith(f"the camera {camera}")
    (warning,) = planned.warnings
    assert warning.startswith("not followed: the red bar goes along: ")


def test_one_that_is_off_screen_is_not_moved_and_the_warning_says_by_what_it_comes_back() -> None:
    (warning,) = film(AWAY + "it turns")[-1].warnings
    assert warning == (
        "not followed: the red bar turns: it is off-screen and waits there: `the camera pans left` for 2 seconds "
        "brings it into the frame"
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "a red bar at the top left under a navy sky, the camera pans left and it goes along",
        "a red bar at the top left, the camera follows it",
        "a red bar at the top left, the red bar goes along",
    ],
)
def test_what_is_said_of_it_in_the_first_second_is_said_of_the_one_named_before(prompt: str) -> None:
    (planned,) = film(prompt)
    assert planned.effective_prompt.startswith("a red bar at column 1, row 1 goes along under")
    assert not planned.warnings


@pytest.mark.parametrize(
    ("prompt", "moved"),
    [
        ("the blue square turns and it moves up", 1),
        ("the blue square stays, the red bar stays, and it moves up", 0),
        ("the one on the right turns and it moves up", 1),
        ("both stay and it moves up", 0),
        ("it moves up", 0),
    ],
)
def test_what_is_said_of_it_in_a_later_second_is_said_of_the_one_named_before(prompt: str, moved: int) -> None:
    planned = film(f"a red bar at the bottom left stays and a blue square at the bottom right stays. {prompt}")[-1]
    assert [words.motion(planned.target[0], number) == "up" for number in range(2)] == [moved == 0, moved == 1]


@pytest.mark.parametrize(
    "prompt",
    [
        "a red bar at the top left, the bar moves right",
        "a red bar at the top left and a blue square, the square stays and the bar moves right",
        "a red bar at the top left, the red one moves right",
    ],
)
def test_the_bar_is_the_one_that_was_named_before(prompt: str) -> None:
    (planned,) = film(prompt)
    assert "a red bar at column 1, row 1 moves right, ends at column 5, row 1" in planned.effective_prompt
    assert planned.effective_prompt.count(" bar at ") == 1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("prompt", ["a red bar and a bar", "a bar and a red bar"])
def test_a_bar_beside_a_bar_is_another(prompt: str, seed: int) -> None:
    (planned,) = film(prompt, seed=seed)
    assert planned.effective_prompt.count(" bar at ") == 2
    assert not planned.warnings


@pytest.mark.parametrize(
    ("prompt", "filmed"),
    [
        (
            "a red bar at the left middle moves right and a red bar at the right moves left",
            "a red bar at column 1, row 2 moves right",
        ),
        (
            "a red bar at the top left moves right and another red bar stays at the bottom right",
            "a red bar at column 1, row 1 moves right",
        ),
        ("a red bar at the top left and a second red bar moves right", "a red bar at column 1, row 1"),
        ("a red bar at the top left and a red bar moves right", "a red bar at column 1, row 1 moves right"),
    ],
)
def test_a_second_subject_of_one_name_is_told_not_shown_and_moves_nobody(prompt: str, filmed: str) -> None:
    (planned,) = film(prompt)
    assert planned.warnings == ("not followed: another red bar (two of one name cannot be told apart)",)
    assert planned.effective_prompt.startswith(filmed)
    assert " and " not in planned.effective_prompt


def test_a_name_that_is_said_again_without_an_article_is_of_the_same() -> None:
    (planned,) = film("red bar at the top left, red bar moves right")
    assert planned.effective_prompt.startswith("a red bar at column 1, row 1 moves right")
    assert not planned.warnings


def test_a_later_mention_that_says_nothing_new_takes_nothing_back() -> None:
    planned = film("a red bar at the top left stays. the red bar goes along, the camera pans left with it")[-1]
    assert "goes along" in planned.effective_prompt


def test_subjects_that_would_meet_do_not() -> None:
    (planned,) = film("a red bar at the left middle moves right and a blue corner at the centre middle moves left")
    assert any("would meet" in warning for warning in planned.warnings)
    places = [moment.after.places for moment in planned.target]
    assert all(one != other for one, other in places)


def test_what_a_first_frame_shows_is_directed_by_its_words() -> None:
    arts = ((Named(0, 2), (2, 1)), (Pattern((0, 1, 2, 2)), (5, 0)))
    facts = facts_of(Sighting(7, np.zeros((2, 18), np.int64), arts, 0))
    (second,) = parse("the red bar moves down").seconds
    planned = extend(facts, second, seed=0, grid=GRID)
    assert planned.effective_prompt == (
        "a red bar at column 3, row 2 moves down, turns back and it at column 6, row 1 stays "
        "under a white sky, the camera holds"
    )
