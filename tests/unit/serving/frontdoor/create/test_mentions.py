"""Names of references in a prompt: each door's way of writing them, and those that name nothing."""

from __future__ import annotations

import pytest

from serving.errors import InvalidArgument
from serving.frontdoor.create.drafts import Draft, ExtensionDraft, MediaDraft
from serving.frontdoor.create.mentions import check_mentions

PICTURE = MediaDraft("references[0]", url="https://example.com/cat.png")
VIDEO = ExtensionDraft(video_id="vid_a")


@pytest.mark.parametrize(
    ("prompt", "references"),
    [
        ("<ref1> moves", 1),
        ("<IMAGE_1> and <image_2> and [Image 2]", 2),
        ("<IMAGE_0> and <IMAGE_1>", 2),  # counted from 0
        ("@image1, @IMAGE2", 2),
        ("no name at all", 0),
        ("<refs1> [image] image 5 me@image7.example <ref> a[3]", 0),
    ],
)
def test_what_is_there_may_be_named(prompt: str, references: int) -> None:
    check_mentions(Draft(prompt=prompt, references=(PICTURE,) * references))


@pytest.mark.parametrize(
    ("prompt", "references", "said"),
    [
        ("<ref1> moves", 0, "it names <ref1>, and no reference is given"),
        ("<ref1> and [Image 2]", 1, "it names [Image 2], and one reference is given"),
        ("<IMAGE_0> and <IMAGE_2>", 2, "it names <IMAGE_2>, and 2 references are given"),
        ("@image4", 3, "it names @image4, and 3 references are given"),
        ("<ref999999>", 3, "it names <ref999999>, and 3 references are given"),
    ],
)
def test_a_name_of_nothing_is_refused_by_itself(prompt: str, references: int, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_mentions(Draft(prompt=prompt, references=(PICTURE,) * references))
    assert (refused.value.field, refused.value.description) == ("prompt", said)


def test_a_first_frame_may_be_named_and_so_may_what_an_extended_video_shows() -> None:
    check_mentions(Draft(prompt="<IMAGE_1> moves", first_frame=PICTURE))
    check_mentions(Draft(prompt="<ref1> moves", extends=VIDEO))
    with pytest.raises(InvalidArgument, match="one reference"):
        check_mentions(Draft(prompt="<ref2> moves", extends=VIDEO, references=(PICTURE,)))
