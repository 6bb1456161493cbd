"""Names of pictures in a prompt: all the ways of writing them, and one reading for whoever asks."""

from __future__ import annotations

import random

import pytest

from engines.families.picture_names import named
from engines.families.sprite.captions import parse


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("<ref1> and <IMAGE_2>, [Image 3], @image4", {"<ref1>": 0, "<IMAGE_2>": 1, "[Image 3]": 2, "@image4": 3}),
        ("<ref01> < ref 2 > [reference_3 ]", {"<ref01>": 0, "< ref 2 >": 1, "[reference_3 ]": 2}),
        ("<IMAGE_0> and <IMAGE_1>", {"<IMAGE_0>": 0, "<IMAGE_1>": 1}),
        ("[<ref1>] <[Image 2]> [@image3]", {"<ref1>": 0, "[Image 2]": 1, "@image3": 2}),
        ("<ref1234567> <ref> <refs1> me@image7.example <ref\u0661> [ref1>", {}),
    ],
)
def test_a_name_is_found_with_its_pictures_number(prompt: str, found: dict[str, int]) -> None:
    assert named(prompt) == found


def test_what_is_a_name_for_the_front_door_is_one_for_the_captions_too() -> None:
    pieces = ("<", ">", "[", "]", "@", "<ref", "[Image", "@image", "reference", "1>", "2]", "03", "4", " ", "é", "K",
              "İ", "_", "<IMAGE_0>", "< ref 1 >", "@image2", "it ", "the scene of ", "moves up", ". ")  # fmt: skip
    draw = random.Random(5)
    names = 0
    for _ in range(2000):
        prompt = "".join(draw.choices(pieces, k=draw.randint(2, 12)))
        script = parse(prompt)
        read = {mention.reference for second in script.seconds for mention in second.mentions} | {script.scene}
        wanted = set(named(prompt).values())
        # Of two pictures that are called the scene the later one counts.
        assert read - {None} <= wanted, prompt
        assert wanted <= read or "scene" in prompt, prompt
        names += len(wanted)
    assert names > 200
