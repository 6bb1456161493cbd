"""Requests that are none, and enums that hold what nobody knows."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import InvalidArgument
from serving.frontdoor.edge.requests import Reader, Unreadable
from serving.gen.longtake.v1 import videos_pb2
from serving.gen.xai.api.v1 import files_pb2, image_pb2, video_pb2


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (videos_pb2.CreateVideoRequest(kind=7), "kind"),  # type: ignore[arg-type]
        (video_pb2.GenerateVideoRequest(aspect_ratio=99), "aspect_ratio"),  # type: ignore[arg-type]
        (video_pb2.GenerateVideoRequest(resolution=-1), "resolution"),  # type: ignore[arg-type]
        (image_pb2.GenerateImageRequest(format=99), "format"),  # type: ignore[arg-type]
        (image_pb2.GenerateImageRequest(quality=99), "quality"),  # type: ignore[arg-type]
        (files_pb2.ListFilesRequest(order=9), "order"),  # type: ignore[arg-type]
        (files_pb2.ListFilesRequest(sort_by=9), "sort_by"),  # type: ignore[arg-type]
        (files_pb2.RetrieveFileContentRequest(format=77), "format"),  # type: ignore[arg-type]
        (
            video_pb2.GenerateVideoRequest(image=image_pb2.ImageUrlContent(detail=8)),  # type: ignore[arg-type]
            "image.detail",
        ),
        (
            image_pb2.GenerateImageRequest(
                images=[image_pb2.ImageUrlContent(), image_pb2.ImageUrlContent(detail=8)]  # type: ignore[arg-type]
            ),
            "images[1].detail",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_unknown_number_is_refused_with_the_field_and_what_is_known(request_: Message, field: str) -> None:
    reader = Reader(type(request_))
    with pytest.raises(InvalidArgument, match=r"is no value that this server knows; it knows [A-Z]+") as refused:
        reader.checked(reader.parse(request_.SerializeToString()))
    assert refused.value.field == field


def test_known_numbers_and_no_numbers_pass() -> None:
    for request in (
        videos_pb2.CreateVideoRequest(),
        videos_pb2.CreateVideoRequest(kind=videos_pb2.Video.KIND_IMAGE),
        video_pb2.GenerateVideoRequest(prompt="x"),
        files_pb2.ListFilesRequest(order=files_pb2.DESCENDING),
    ):
        reader = Reader(type(request))
        assert reader.checked(reader.parse(request.SerializeToString())) == request


def test_bytes_that_are_no_message_are_refused() -> None:
    reader = Reader(videos_pb2.CreateVideoRequest)
    latin = b"\x1a\x04b\xfcld"  # a prompt that is not UTF-8
    found = reader.parse(latin)
    assert isinstance(found, Unreadable)
    with pytest.raises(InvalidArgument, match=r"^request: its bytes are no CreateVideoRequest: texts must be UTF-8"):
        reader.checked(found)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60), st.sampled_from([videos_pb2.CreateVideoRequest, video_pb2.GenerateVideoRequest]))
def test_any_bytes_are_a_message_or_a_refusal(data: bytes, kind: type[Message]) -> None:
    reader = Reader(kind)
    try:
        reader.checked(reader.parse(data))
    except InvalidArgument as error:
        assert error.field  # noqa: PT017  (either outcome is right)
