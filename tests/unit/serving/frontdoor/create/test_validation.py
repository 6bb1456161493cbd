"""What is refused, by which name, and with what is supported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serving.errors import InvalidArgument, NotFound, SettingsError
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.create.drafts import Draft, ExtensionDraft, MediaDraft
from serving.frontdoor.create.shapes import foreign_shape, inherited_resolution
from serving.frontdoor.create.validation import check_draft, seconds_of
from serving.media.track import Track
from serving.requests import Codec, ForeignSource, Kind
from serving.segments.shape import VideoShape
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST

PICTURE = MediaDraft("image", url="https://example.com/cat.png")
PARENT = ExtensionDraft(video_id="vid_a")

REFUSED = {
    "a prompt beyond the limit": (Draft(prompt="x" * 4097), "prompt", "at most 4096"),
    "a negative prompt": (Draft(negative_prompt="blurred"), "negative_prompt", "takes none"),
    "no seconds": (Draft(seconds=0), "seconds", "1 to 15"),
    "too many seconds": (Draft(seconds=16), "seconds", "1 to 15"),
    "too many seconds of extension": (Draft(seconds=11, extends=PARENT), "seconds", "1 to 10"),
    "an aspect ratio without a canvas": (Draft(aspect_ratio="4:3"), "aspect_ratio", "16:9, 1:1, 9:16"),
    "a resolution that is not made": (Draft(resolution="4k"), "resolution", "480p, 720p, 1080p"),
    "a video size for an image": (Draft(kind=Kind.IMAGE, resolution="480p"), "resolution", "1k, 2k"),
    "an unknown codec": (Draft(codec="vp9"), "codec", "av1, h264"),
    "a negative seed": (Draft(seed=-1), "seed", "outside"),
    "too many steps": (Draft(steps=51), "steps", "1 to 50"),
    "too many references": (Draft(references=(PICTURE, PICTURE)), "references", "at most 1"),
    "an extension with a first frame": (
        Draft(extends=PARENT, first_frame=PICTURE),
        "first_frame",
        "begins where",
    ),
    "an image that extends": (Draft(kind=Kind.IMAGE, extends=PARENT), "extends", "ask for a video"),
    "an image with a first frame": (Draft(kind=Kind.IMAGE, first_frame=PICTURE), "first_frame", "reference"),
    "an image with a length": (Draft(kind=Kind.IMAGE, seconds=2), "seconds", "no length"),
    "too many images": (Draft(kind=Kind.IMAGE, images=11), "images", "1 to 10"),
    "no images": (Draft(kind=Kind.IMAGE, images=0), "images", "1 to 10"),
    "a video that counts images": (Draft(images=1), "images", "leave it out"),
    "nothing to show": (Draft(), "prompt", "it is empty"),
    "a prompt of blanks": (Draft(prompt=" \n\u3000"), "prompt", "it is empty"),
    "an image of nothing": (Draft(kind=Kind.IMAGE), "prompt", "it is empty"),
    "a reference that is not there": (
        Draft(prompt="<ref1> moves"),
        "prompt",
        "names <ref1>, and no reference is given",
    ),
    "a request id beyond the limit": (Draft(request_id="x" * 129), "request_id", "at most 128"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    draft, field, says = REFUSED[name]

    with pytest.raises(InvalidArgument, match=says) as caught:
        check_draft(draft, CAPABILITIES)

    assert caught.value.field == field


def test_a_negative_prompt_is_for_models_that_take_one_and_as_long_as_a_prompt() -> None:
    able = replace(CAPABILITIES, negative_prompt=True)
    check_draft(Draft(prompt="a cat", negative_prompt="x" * 4096), able)
    with pytest.raises(InvalidArgument, match=r"4097 characters; .* at most 4096") as caught:
        check_draft(Draft(negative_prompt="x" * 4097), able)
    assert caught.value.field == "negative_prompt"


def test_messages_use_the_names_of_the_callers_wire() -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_draft(Draft(seconds=99, names={"seconds": "duration"}), CAPABILITIES)

    assert caught.value.field == "duration"


@pytest.mark.parametrize(
    "draft",
    [
        Draft(prompt="x"),
        Draft(prompt="x", seconds=15, aspect_ratio="9:16", resolution="1080p", codec="h264", seed=2**63 - 1, steps=50),
        Draft(first_frame=PICTURE, references=(PICTURE,)),
        Draft(extends=PARENT, seconds=10),
        Draft(kind=Kind.IMAGE, images=10, resolution="2k", references=(PICTURE,)),
    ],
)
def test_taken(draft: Draft) -> None:
    check_draft(draft, CAPABILITIES)


@pytest.mark.parametrize("draft", [Draft(prompt="x"), Draft(prompt="x", names={"first_frame": "image"})])
def test_a_model_that_begins_with_a_picture_is_given_one_or_a_video(draft: Draft) -> None:
    begins = replace(CAPABILITIES, text=False)
    check_draft(replace(draft, first_frame=PICTURE), begins)
    check_draft(replace(draft, extends=PARENT), begins)
    with pytest.raises(InvalidArgument, match=r"makes no video without one: give a picture, or choose") as caught:
        check_draft(draft, begins)
    assert caught.value.field == draft.name("first_frame")


def test_what_the_model_lacks_is_refused_with_the_field_and_what_to_do() -> None:
    plain = replace(CAPABILITIES, first_frame=False, extension=False, image=False, references_max=0)
    for field, draft in (
        ("first_frame", Draft(first_frame=PICTURE)),
        ("extends", Draft(extends=PARENT)),
        ("kind", Draft(kind=Kind.IMAGE)),
        ("references", Draft(references=(PICTURE,))),
    ):
        with pytest.raises(InvalidArgument, match=r"sprite-2 .*choose a model that") as refused:
            check_draft(draft, plain)
        assert refused.value.field == field


def test_open_lengths_take_the_default_of_what_is_made() -> None:
    assert seconds_of(Draft(), CAPABILITIES) == 8
    assert seconds_of(Draft(extends=PARENT), CAPABILITIES) == 6
    assert seconds_of(Draft(kind=Kind.IMAGE), CAPABILITIES) == 0


SQUARE = VideoShape(
    aspect_ratio="1:1",
    height=64,
    width=64,
    track=Track(codec=Codec.H264, width=704, height=704, fps=16),
    total_frames=33,
    depth=1,
)


def test_an_extension_inherits_size_and_codec() -> None:
    assert inherited_resolution(Draft(extends=PARENT), CAPABILITIES, SQUARE) == "720p"
    same = Draft(extends=PARENT, aspect_ratio="1:1", resolution="720p", codec="h264")
    assert inherited_resolution(same, CAPABILITIES, SQUARE) == "720p"


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [("aspect_ratio", "16:9", "1:1"), ("resolution", "480p", "720p"), ("codec", "av1", "h264")],
)
def test_an_extension_that_asks_for_another_track_is_refused(field: str, value: str, kept: str) -> None:
    asked: dict[str, Any] = {field: value}
    draft = replace(Draft(extends=PARENT), **asked)

    with pytest.raises(InvalidArgument, match=kept) as caught:
        inherited_resolution(draft, CAPABILITIES, SQUARE)

    assert caught.value.field == field


def foreign(width: int, height: int) -> ForeignSource:
    return ForeignSource(blob=DIGEST, seconds=5.0, width=width, height=height)


@pytest.mark.parametrize(
    ("width", "height", "want"),
    [
        (640, 360, ("16:9", "480p")),
        (1920, 1080, ("16:9", "720p")),
        (480, 480, ("1:1", "480p")),
        (1080, 1920, ("9:16", "720p")),
    ],
)
def test_a_foreign_video_takes_the_nearest_canvas(width: int, height: int, want: tuple[str, str]) -> None:
    aspect, resolution, warnings = foreign_shape(Draft(extends=PARENT), CAPABILITIES, foreign(width, height))

    assert (aspect, resolution) == want
    assert bool(warnings) == (aspect != "1:1")


def test_a_foreign_video_of_another_shape_is_refused_and_so_is_another_size() -> None:
    with pytest.raises(InvalidArgument, match="640x480"):
        foreign_shape(Draft(extends=PARENT), CAPABILITIES, foreign(640, 480))
    with pytest.raises(InvalidArgument, match="480p"):
        foreign_shape(Draft(extends=PARENT, resolution="1080p"), CAPABILITIES, foreign(640, 360))


def test_the_catalog_knows_names_and_aliases_and_names_the_models_otherwise() -> None:
    catalog = Catalog([ServedModel(CAPABILITIES, DIGEST)], default="sprite")
    assert catalog.resolve("") is catalog.resolve("sprite-2") is catalog.resolve("sprite") is catalog.default
    with pytest.raises(NotFound, match="sprite-2"):
        catalog.resolve("gpt-5")
    with pytest.raises(SettingsError, match="sprite-2"):
        Catalog([ServedModel(CAPABILITIES, DIGEST)], default="wan")
