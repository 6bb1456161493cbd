"""A draft's digest, equal for what asks for the same; and how much of a request a draft is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.errors import InvalidArgument
from serving.frontdoor.create.drafts import Draft, ExtensionDraft, MediaDraft
from serving.frontdoor.surfaces.longtake.videos import draft_of
from serving.frontdoor.surfaces.xai.words import pictures
from serving.gen.longtake.v1 import videos_pb2
from serving.gen.xai.api.v1 import image_pb2
from serving.requests import Kind

PICTURE = MediaDraft("image", data=b"picture")
DRAFT = Draft(prompt="a red ball", seconds=2, references=(PICTURE,), extends=ExtensionDraft(video_id="vid_a"))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": Kind.IMAGE},
        {"model": "wan"},
        {"prompt": "a blue ball"},
        {"negative_prompt": "blurred"},
        {"seconds": None},
        {"seed": 0},
        {"steps": 4},
        {"images": 2},
        {"references": ()},
        {"references": (PICTURE, PICTURE)},
        {"references": (replace(PICTURE, data=b"another"),)},
        {"references": (), "first_frame": PICTURE},
        {"extends": ExtensionDraft(video_id="vid_a", segment="f" * 64)},
        {"extends": None},
    ],
)
def test_whatever_makes_another_video_changes_it(changes: dict[str, object]) -> None:
    assert replace(DRAFT, **changes).digest() != DRAFT.digest()  # type: ignore[arg-type]


def test_how_and_when_it_is_asked_for_does_not() -> None:
    changed = replace(DRAFT, request_id="again", deadline_ms=5, priority=1, ttl_ms=9, names={"prompt": "text"})
    assert replace(changed, references=(replace(PICTURE, field="references[0]"),)).digest() == DRAFT.digest()


def test_more_pictures_than_any_model_takes_are_counted_and_not_looked_at() -> None:
    many = [videos_pb2.Media()] * 65  # each names nothing, which is not what is said
    with pytest.raises(InvalidArgument, match=r"^references: there are 65; at most 64"):
        draft_of(videos_pb2.CreateVideoRequest(prompt="x", references=many), idempotency_key="")
    with pytest.raises(InvalidArgument, match=r"^reference_images: there are 65; at most 64"):
        pictures("reference_images", [image_pb2.ImageUrlContent()] * 65)
