"""Free prompts are read as far as their words go, and what is open is drawn from the seed."""

import pytest

from engines.families.base import Subject
from engines.families.sprite.captions import VOCAB, Reading, caption, complete, overruled, parse, tokenize


@pytest.mark.parametrize(
    ("prompt", "want_caption"),
    [
        (
            "a red circle moves left over a grey background top inside",
            "a red circle moves left over a grey background top inside",
        ),
        (
            "A CRIMSON ball, flying to the left over a dark blue sky! middle",
            "a red circle moves left over a navy background middle",
        ),
        (
            "On black, a rising golden pyramid at the bottom",
            "a yellow triangle moves up over a black background bottom",
        ),
        (
            "film: turquoise box from the left, white wall, centre",
            "a cyan square moves right over a white background middle",
        ),
        (
            "a blue cross on a blue background going down, top",
            "a blue cross moves down over a navy background top",
        ),
        (
            "purple disc travels from bottom to top over gray, upper lane",
            "a purple circle moves up over a grey background top",
        ),
    ],
)
def test_a_prompt_becomes_its_canonical_caption(prompt: str, want_caption: str) -> None:
    assert caption(complete(parse(prompt), 0, subject="named"), "named") == want_caption


@pytest.mark.parametrize("pointer", ["<ref1>", "<IMAGE_1>", "<IMAGE_0>", "[Image 1]", "[image_1]", "@image1"])
def test_each_way_of_pointing_at_a_reference_is_understood(pointer: str) -> None:
    reading = parse(f"{pointer} moves up over white")
    assert reading.subject == "reference"
    assert caption(complete(reading, 1, subject="reference"), "reference").startswith("<ref1> moves up over a white")


def test_a_given_frame_needs_nothing_but_a_direction() -> None:
    reading = parse("it moves down over a navy background")
    assert reading.subject == "frame"
    assert caption(complete(reading, 1, subject="frame"), "frame") == "it moves down"


@pytest.mark.parametrize(
    "prompt", ["", "   ", "日本語のプロンプト", "🙂" * 50, "x" * 10_000, "lorem " * 2000, "\0<<<>>>"]
)
def test_a_prompt_that_says_nothing_still_makes_a_complete_caption(prompt: str) -> None:
    reading = parse(prompt)
    assert reading.understood == ()
    assert all(len(word) <= 40 for word in reading.ignored)
    result = complete(reading, 5, subject="named")
    assert None not in (result.colour, result.shape, result.background, result.direction, result.lane)
    tokenize(caption(result, "named"))


def test_what_is_ignored_is_said() -> None:
    reading = parse("a cinematic red circle with dramatic lighting")
    assert reading.ignored == ("cinematic", "dramatic", "lighting")
    assert reading.understood == ("colour: red", "shape: circle")


def test_the_seed_alone_draws_what_is_open() -> None:
    reading = parse("a circle")
    assert complete(reading, 7, subject="named") == complete(reading, 7, subject="named")
    drawn = {caption(complete(reading, seed, subject="named"), "named") for seed in range(40)}
    assert len(drawn) > 20
    assert all("circle" in text for text in drawn)


def test_naming_one_attribute_leaves_the_drawn_ones_alone() -> None:
    free, bound = (complete(parse(p), 3, subject="named") for p in ("a circle", "a circle over white"))
    assert (free.colour, free.direction, free.lane) == (bound.colour, bound.direction, bound.lane)


def test_an_extension_keeps_its_parent_and_says_what_it_overruled() -> None:
    parent = parse("a red circle moves left over a grey background top")
    asked = parse("now a blue circle moving up")
    result = complete(asked, 0, subject="named", fixed=parent)
    assert caption(result, "named") == "a red circle moves left over a grey background top"
    assert overruled(asked, result) == ("colour: blue (kept: red)", "direction: up (kept: left)")


@pytest.mark.parametrize("subject", ["named", "reference", "frame"])
def test_a_caption_reads_back_as_itself(subject: Subject) -> None:
    for seed in range(20):
        text = caption(complete(Reading(), seed, subject=subject), subject)
        reading = parse(text)
        assert reading.subject == subject
        assert reading.ignored == ()
        assert caption(reading, subject) == text


def test_tokens_are_the_vocabularys() -> None:
    ids = tokenize("it moves left")
    assert ids.shape == (14,)
    assert [VOCAB[i] for i in ids[:3]] == ["it", "moves", "left"]
    assert not ids[3:].any()


def test_a_word_outside_the_vocabulary_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="pink"):
        tokenize("a pink circle")
