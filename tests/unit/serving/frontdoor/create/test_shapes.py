"""The shape of a video that its first frame decides, and what is told of pictures that do not fit."""

from __future__ import annotations

import pytest

from serving.frontdoor.create.drafts import Draft
from serving.frontdoor.create.shapes import own_aspect, told_of
from serving.media.sandbox import PictureFacts
from tests.unit.serving.frontdoor.builders import CAPABILITIES


def of(width: int, height: int, *, transparent: bool = False) -> PictureFacts:
    return PictureFacts(width=width, height=height, transparent=transparent)


@pytest.mark.parametrize(
    ("size", "want"),
    [
        ((720, 1280), "9:16"),
        ((1280, 720), "16:9"),
        ((640, 640), "1:1"),
        ((5, 4), "1:1"),
        ((4, 5), "1:1"),
        ((4, 3), "16:9"),
        ((3, 4), "9:16"),
        ((3, 2), "16:9"),
        ((2, 3), "9:16"),
        ((1, 4000), "9:16"),
        ((4000, 1), "16:9"),
    ],
)
def test_the_first_frame_decides_where_nothing_is_asked_for(size: tuple[int, int], want: str) -> None:
    assert own_aspect(Draft(), CAPABILITIES, of(*size)) == want


def test_what_is_asked_for_goes_before_the_first_frame_and_that_before_the_models_own() -> None:
    assert own_aspect(Draft(aspect_ratio="16:9"), CAPABILITIES, of(720, 1280)) == "16:9"
    assert own_aspect(Draft(), CAPABILITIES, None) == "16:9"


@pytest.mark.parametrize(
    ("picture", "whole", "said"),
    [
        (of(448, 448), False, []),
        (of(44800, 44801), False, []),
        (of(720, 1280), False, ["image (720x1280) is cropped by 44% to fit 448x448"]),
        (of(1280, 720), False, ["image (1280x720) is cropped by 44% to fit 448x448"]),
        (of(1280, 720), True, []),
        (of(9, 9, transparent=True), False, ["image is transparent in parts, which are taken as black"]),
        (of(9, 9, transparent=True), True, ["image is transparent in parts, which are taken as white"]),
    ],
)
def test_what_is_lost_of_a_picture_is_told(picture: PictureFacts, said: list[str], *, whole: bool) -> None:
    assert list(told_of("image", picture, (448, 448), whole=whole)) == said
