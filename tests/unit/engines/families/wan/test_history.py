"""Which stills of its video an extension of Wan-VACE is shown, and which are kept: a few, however long the video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from engines.families.capabilities import Canvas
from engines.families.history import Before, HistoryPlan, Reference
from engines.families.wan import history

CANVAS = Canvas("1:1", 32, 32)
ROOT, FURTHER, LEAD, TOKENS = 9, 4, 5, 4
"""Latents of a root and of each further segment, of what an extension's clip begins with, and tokens of one."""


def planned(captions: Iterable[str], pictures: int = 0, *, begins: int = 0) -> list[HistoryPlan]:
    """Of a video with these captions; `begins`: behind so many latents that were not made here."""
    latents, facts, found = begins, "", list[HistoryPlan]()
    for caption in captions:
        before = Before(CANVAS, latents, facts, references=(Reference(),) * pictures)
        found.append(history.plan(caption, before, lead=LEAD, latent_tokens=TOKENS))
        latents, facts = latents + (FURTHER if latents else ROOT), found[-1].facts
    return found


def begun_by(number: int) -> int:
    """The latent whose last frame the clip of this segment begins with."""
    return ROOT + FURTHER * (number - 1) - LEAD


def test_the_first_segments_are_shown_all_that_there_is() -> None:
    root, first, second, third = planned(["a cat"] * 4)
    assert root.sources == ()
    assert (first.of("memory"), first.of("anchor"), first.of("newest")) == ((), (0,), (4, 5, 6, 7, 8))
    assert (second.of("memory"), third.of("memory")) == ((begun_by(1),), (begun_by(2), begun_by(1)))
    assert [plan.keep for plan in (root, first, second)] == [(), (4,), (4, 8)]


@pytest.mark.parametrize(
    "captions", [["a cat"] * 300, [f"scene {number}" for number in range(300)]], ids=["one", "all"]
)
def test_what_is_shown_kept_and_known_stays_small_however_long_the_video(captions: Sequence[str]) -> None:
    plans = planned(captions)
    for before, plan in pairwise(plans[1:]):
        assert set(plan.of("memory")) <= set(before.keep)
        assert len({*plan.of("memory"), 0}) <= history.BESIDE
        assert len(plan.keep) <= history.KEPT
        assert set(plan.keep) <= {*before.keep, plan.of("newest")[0]}
    assert sum(source.tokens for source in plans[-1].sources) == (history.BESIDE + LEAD) * TOKENS
    assert len(plans[-1].facts) < 1000
    long = " ".join(f"{number:x}nightingale" for number in range(2**20, 2**20 + 400))
    assert len(planned([long] * 40)[-1].facts) < 10_000


def test_a_video_of_one_caption_is_shown_from_end_to_end() -> None:
    latents = begun_by(100)
    plan = planned(["a cat"] * 101)[-1]
    assert 0.4 * latents < plan.of("memory")[1] < 0.6 * latents
    gaps = [later - earlier for earlier, later in pairwise(plan.keep)]
    assert max(gaps) <= 3 * min(gaps[:-1])
    assert all("far from all else" in source.shows for source in plan.sources if source.kind == "memory")


@pytest.mark.parametrize(
    ("kitchen", "back", "for_words"),
    [
        ("a cat sits in the kitchen", "back in the kitchen, the cat sleeps", "kitchen"),
        ("Кошка на кухне", "снова на кухне", "кухне"),
        ("厨房里有一只猫", "回到厨房", "厨"),
    ],
)
def test_a_scene_that_comes_back_is_shown_as_it_was(kitchen: str, back: str, for_words: str) -> None:
    """The clip of the segment after it begins with its last second."""
    others = [f"a street in the rain with the cars and number {number}" for number in range(70)]
    for at in (3, 12, 20, 33, 41):
        plan = planned([*others[:at], kitchen, *others[at:], back])[-1]
        shows = {source.numbers[0]: source.shows for source in plan.sources if source.kind == "memory"}
        assert for_words in shows[begun_by(at + 1)]


def test_the_scene_just_before_the_last_one_is_within_reach() -> None:
    captions = ["a street", *["a garden", "a kitchen"] * 3, "a garden"]
    assert planned(captions)[-1].of("memory")[0] == begun_by(6)


def test_pictures_come_before_keyframes() -> None:
    for pictures, keyframes in enumerate((3, 2, 1, 0)):
        plan = planned([f"scene {number}" for number in range(9)], pictures)[-1]
        assert [source.kind for source in plan.sources] == [
            *["memory"] * keyframes,
            "anchor",
            *["reference"] * pictures,
            "newest",
        ]
        assert plan.of("reference") == tuple(reversed(range(pictures)))


def test_a_video_from_elsewhere_begins_without_keyframes_and_comes_to_have_some() -> None:
    first, second, third = planned(["a cat"] * 3, begins=12)
    assert (first.of("memory"), first.keep) == ((), (7,))
    assert (second.of("memory"), third.of("memory")) == ((7,), (11, 7))
    short = planned(["a cat"] * 3, begins=2)
    assert [plan.keep for plan in short] == [(), (1,), (1, 5)]
    assert short[0].of("newest") == (0, 1)


def test_the_plan_is_the_same_in_every_process() -> None:
    """Facts go through the store, and words through sets nowhere."""
    captions = [
        f"the {colour} cat and the dog {number % 7}" for number, colour in enumerate(["red", "blue", "old"] * 9)
    ]
    assert planned(captions) == planned(captions)
    facts = planned(captions)[-1].facts
    assert history.Known.decode(facts).encode() == facts
