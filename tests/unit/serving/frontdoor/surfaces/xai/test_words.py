"""Words of the public wire turned into ours."""

from __future__ import annotations

import pytest

from serving.errors import InvalidArgument
from serving.frontdoor.create.drafts import MediaDraft
from serving.frontdoor.surfaces.xai.words import (
    film,
    image_aspect,
    image_resolution,
    no_usage,
    picture,
    pictures,
    video_aspect,
    video_resolution,
)
from serving.gen.xai.api.v1 import image_pb2, video_pb2


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (image_pb2.IMG_ASPECT_RATIO_INVALID, ""),
        (image_pb2.IMG_ASPECT_RATIO_AUTO, ""),
        (image_pb2.IMG_ASPECT_RATIO_16_9, "16:9"),
        (image_pb2.IMG_ASPECT_RATIO_9_19_5, "9:19.5"),
        (image_pb2.IMG_ASPECT_RATIO_19_5_9, "19.5:9"),
        (image_pb2.IMG_ASPECT_RATIO_1_2, "1:2"),
    ],
)
def test_image_ratios_read_as_people_write_them(value: image_pb2.ImageAspectRatio.ValueType, want: str) -> None:
    assert image_aspect(image_pb2.GenerateImageRequest(aspect_ratio=value)) == want


def test_video_ratios_and_sizes_read_as_people_write_them() -> None:
    request = video_pb2.GenerateVideoRequest(
        aspect_ratio=video_pb2.VIDEO_ASPECT_RATIO_9_16, resolution=video_pb2.VIDEO_RESOLUTION_1080P
    )

    assert (video_aspect(request), video_resolution(request)) == ("9:16", "1080p")
    assert (
        video_aspect(video_pb2.GenerateVideoRequest()),
        video_resolution(video_pb2.GenerateVideoRequest()),
    ) == ("", "")
    assert image_resolution(image_pb2.GenerateImageRequest(resolution=image_pb2.IMG_RESOLUTION_2K)) == "2k"


def test_pictures_are_named_by_their_place() -> None:
    contents = [image_pb2.ImageUrlContent(image_url="data:,"), image_pb2.ImageUrlContent(file_id="file_a")]

    assert pictures("reference_images", contents) == (
        MediaDraft("reference_images[0]", url="data:,"),
        MediaDraft("reference_images[1]", file_id="file_a"),
    )


def test_media_that_name_nothing_are_refused() -> None:
    for content in (image_pb2.ImageUrlContent(), image_pb2.ImageUrlContent(image_url="")):
        with pytest.raises(InvalidArgument, match=r"^image: "):
            picture("image", content)
    for source in (video_pb2.VideoUrlContent(), video_pb2.VideoUrlContent(file_id="")):
        with pytest.raises(InvalidArgument, match=r"^video: "):
            film("video", source)


def test_a_cost_of_nothing_is_said_aloud() -> None:
    usage = no_usage()
    assert usage.HasField("cost_in_usd_ticks")
    assert usage.cost_in_usd_ticks == 0
