"""Free prompts are read as far as their words go."""

from __future__ import annotations

import pytest

from engines.families import picture_names
from engines.families.sprite.captions import parse
from engines.families.sprite.script import LAST, Mention


def test_a_whole_first_second() -> None:
    script = parse("A red bar at the top left moves right and <ref1> stays under a navy sky, the camera pans left")
    (second,) = script.seconds
    assert second.mentions == [
        Mention(colour="red", shape="bar", action="right", row="top", column="left"),
        Mention(reference=0, action="stays"),
    ]
    assert second.sky == "navy"
    assert second.camera == "pans left"
    assert script.ignored == ()


@pytest.mark.parametrize(
    ("prompt", "action"),
    [
        ("it turns and moves up", "up"),
        ("it turns", "turns"),
        ("it stops", "stays"),
        ("it goes on", "goes on"),
        ("it goes along", "goes along"),
        ("it falls", "down"),
        ("it moves left to the right of the scene", "left"),
    ],
)
def test_what_it_does(prompt: str, action: str) -> None:
    assert parse(prompt).seconds[0].mentions == [Mention(pointer=True, action=action)]


@pytest.mark.parametrize(
    ("prompt", "camera"),
    [
        ("the camera pans left", "pans left"),
        ("the camera moves right", "pans right"),
        ("pan back", "pans back"),
        ("the camera returns", "pans back"),
        ("the camera pans", "pans"),
        ("the camera holds still", "holds"),
    ],
)
def test_what_the_camera_does(prompt: str, camera: str) -> None:
    (second,) = parse(prompt).seconds
    assert second.camera == camera
    assert second.mentions == []


@pytest.mark.parametrize("word", ["<ref2>", "[Image 2]", "<IMAGE_2>", "@image2", "<reference2>", "[Reference 2]"])
def test_references_by_all_their_names(word: str) -> None:
    assert parse(f"{word} stays").seconds[0].mentions == [Mention(reference=1, action="stays")]


def test_whether_pictures_count_from_0_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counting(prompt: str) -> dict[str, int]:
        asked.append(prompt)
        return known(prompt)

    known = picture_names.named
    monkeypatch.setattr(picture_names, "named", counting)
    parse("<ref1>" * 682)
    assert len(asked) == 1


def test_pictures_that_are_named_side_by_side_are_two() -> None:
    mentions = parse("<ref1><ref2> stay").seconds[0].mentions
    assert mentions == [Mention(reference=0), Mention(reference=1, action="stays")]


def test_then_and_the_end_of_a_sentence_begin_the_next_second() -> None:
    script = parse("It stays, then both move up. The camera pans back; it stops\nit goes on.")
    assert [(len(s.mentions), s.camera) for s in script.seconds] == [
        (1, None),
        (1, None),
        (0, "pans back"),
        (1, None),
        (1, None),
    ]
    assert script.seconds[1].mentions[0].everyone


def test_places_and_ways_are_told_apart() -> None:
    second = parse("a blue square in the bottom right corner moves left").seconds[0]
    assert second.mentions == [Mention(colour="blue", shape="square", action="left", row="bottom", column="right")]
    second = parse("the subject on the left moves down").seconds[0]
    assert second.mentions == [Mention(pointer=True, action="down", column="left")]


def test_a_blue_sky_is_a_navy_one() -> None:
    second = parse("a blue corner under a blue sky").seconds[0]
    assert second.sky == "navy"
    assert second.mentions == [Mention(colour="blue", shape="corner")]


def test_foreign_words_are_told_and_nothing_is_made_of_them() -> None:
    script = parse("Une belle journée")
    assert script.ignored == ("une", "belle", "journée")
    assert not script.seconds[0].says_something


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("it moves left before <scene>", LAST),
        ("<ref1> in the scene of <ref2>", 1),
        ("a red bar, the scenery is [Image 3]", 2),
        ("<IMAGE_0> goes left in the landscape from <IMAGE_1>", 1),
        ("<ref1> in the scene of <reference2>", 1),
        ("a scene with <ref1> and <ref2>", None),
        ("a lovely scene", None),
    ],
)
def test_the_picture_of_the_scene_is_found(prompt: str, scene: int | None) -> None:
    assert parse(prompt).scene == scene
