"""Between the public wire's words and ours: pictures and videos that go in, aspect ratios, sizes, usage. Pure.

`video.py` and `image.py` use it. Names of ratios and sizes are taken from the enums themselves, so a value that the
wire knows and the model lacks is refused by name in `create/validation.py`, with what is supported.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import EnumDescriptor

from serving.errors import InvalidArgument
from serving.frontdoor.create.drafts import MediaDraft, check_count
from serving.gen.xai.api.v1 import image_pb2, usage_pb2, video_pb2


def picture(field: str, content: image_pb2.ImageUrlContent) -> MediaDraft:
    """A picture that goes in. `detail` changes nothing: every picture is read in full. Raises `InvalidArgument`."""
    match content.WhichOneof("source"):
        case "image_url" if content.image_url:
            return MediaDraft(field, url=content.image_url)
        case "file_id" if content.file_id:
            return MediaDraft(field, file_id=content.file_id)
    raise InvalidArgument(field, "it names no picture: give `image_url` (http, https or data URL) or `file_id`")


def pictures(field: str, contents: Sequence[image_pb2.ImageUrlContent]) -> tuple[MediaDraft, ...]:
    """Several pictures, each named by its place. Raises `InvalidArgument`."""
    check_count(field, len(contents))
    return tuple(picture(f"{field}[{place}]", content) for place, content in enumerate(contents))


def film(field: str, content: video_pb2.VideoUrlContent) -> MediaDraft:
    """A video that goes in. Raises `InvalidArgument`."""
    match content.WhichOneof("source"):
        case "url" if content.url:
            return MediaDraft(field, url=content.url)
        case "file_id" if content.file_id:
            return MediaDraft(field, file_id=content.file_id)
    raise InvalidArgument(field, "it names no video: give `url` or `file_id`")


def video_aspect(request: video_pb2.GenerateVideoRequest) -> str:
    """`16:9`, or empty when it is left open."""
    return _ratio(video_pb2.VideoAspectRatio.DESCRIPTOR, request.aspect_ratio, "VIDEO_ASPECT_RATIO_")


def image_aspect(request: image_pb2.GenerateImageRequest) -> str:
    """`16:9`, or empty when it is left open (AUTO leaves it to the model)."""
    if request.aspect_ratio == image_pb2.IMG_ASPECT_RATIO_AUTO:
        return ""
    return _ratio(image_pb2.ImageAspectRatio.DESCRIPTOR, request.aspect_ratio, "IMG_ASPECT_RATIO_")


def video_resolution(request: video_pb2.GenerateVideoRequest) -> str:
    """`720p`, or empty when it is left open."""
    return _word(video_pb2.VideoResolution.DESCRIPTOR, request.resolution, "VIDEO_RESOLUTION_").lower()


def image_resolution(request: image_pb2.GenerateImageRequest) -> str:
    """`1k`, or empty when it is left open."""
    return _word(image_pb2.ImageResolution.DESCRIPTOR, request.resolution, "IMG_RESOLUTION_").lower()


def no_usage() -> usage_pb2.SamplingUsage:
    """Longtake counts no tokens and bills nothing: an explicit zero, so that a client reads a cost of 0."""
    return usage_pb2.SamplingUsage(cost_in_usd_ticks=0)


def _ratio(enum: EnumDescriptor, value: int, prefix: str) -> str:
    return _word(enum, value, prefix).replace("19_5", "19.5").replace("_", ":")


def _word(enum: EnumDescriptor, value: int, prefix: str) -> str:
    """What follows the prefix in the value's name; empty for 0. `edge/requests.py` has refused unknown numbers."""
    return enum.values_by_number[value].name.removeprefix(prefix) if value else ""
