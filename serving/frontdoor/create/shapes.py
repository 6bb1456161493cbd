"""What shape a video gets: the caller's, that of its first frame, that of the video which it continues. Pure.

`settle.py` calls it. What is cut off to fit is told as a warning, for nothing is dropped quietly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from engines.families.capabilities import Canvas, Capabilities
from serving.errors import InvalidArgument
from serving.frontdoor.create.drafts import Draft
from serving.media.sandbox import PictureFacts
from serving.requests import ForeignSource
from serving.segments.shape import VideoShape

MAX_CROP = 0.10
"""Largest difference of aspect ratios between a foreign video and the canvas that it is cropped to."""
SMALL_LINES = 480


def own_aspect(draft: Draft, model: Capabilities, first: PictureFacts | None) -> str:
    """The aspect ratio that is asked for; else the first frame's, as near as the model comes; else the model's."""
    if draft.aspect_ratio:
        return draft.aspect_ratio
    return (_nearest(model, first.width / first.height) if first else model.canvases[0]).aspect_ratio


def told_of(field: str, picture: PictureFacts, size: tuple[int, int], *, whole: bool = False) -> Iterator[str]:
    """What is lost of a picture that is brought to `size`, width and height: cropped over black, or `whole` over
    white.
    """
    given, wanted = picture.width / picture.height, size[0] / size[1]
    lost = 1 - min(given / wanted, wanted / given)
    if not whole and round(lost, 2) > 0:
        yield f"{field} ({picture.width}x{picture.height}) is cropped by {lost:.0%} to fit {size[0]}x{size[1]}"
    if picture.transparent:
        yield f"{field} is transparent in parts, which are taken as {'white' if whole else 'black'}"


def foreign_shape(draft: Draft, model: Capabilities, video: ForeignSource) -> tuple[str, str, tuple[str, ...]]:
    """Aspect ratio, resolution and warnings of a video from elsewhere, on the nearest canvas of the model.

    Raises `InvalidArgument` when no canvas is near, and when the draft asks for another one.
    """
    ratio = video.width / video.height
    canvas = _nearest(model, ratio)
    difference = abs(ratio / (canvas.width / canvas.height) - 1)
    size = f"{video.width}x{video.height}"
    if difference > MAX_CROP:
        supported = ", ".join(c.aspect_ratio for c in model.canvases)
        raise InvalidArgument(
            draft.name("extends"),
            f"the video is {size}; {model.model} takes {supported}, or at most 10 % off",
        )
    names = list(model.resolutions)
    wanted = "480p" if min(video.width, video.height) <= SMALL_LINES else "720p"
    resolution = wanted if wanted in model.resolutions else names[0]
    _refuse_others(draft, {"aspect_ratio": canvas.aspect_ratio, "resolution": resolution})
    if round(difference, 2) == 0:
        return canvas.aspect_ratio, resolution, ()
    times = model.resolutions[resolution]
    target = f"{canvas.width * times}x{canvas.height * times}"
    warning = f"the video ({size}) is cropped by {difference:.0%} to fit {target}"
    return canvas.aspect_ratio, resolution, (warning,)


def inherited_resolution(draft: Draft, model: Capabilities, parent: VideoShape) -> str:
    """The name of the parent's size. Raises `InvalidArgument` when the draft asks for another size, aspect or
    codec.
    """
    scale = parent.track.height // parent.height
    resolution = next((name for name, times in model.resolutions.items() if times == scale), "")
    inherited = {"aspect_ratio": parent.aspect_ratio, "resolution": resolution, "codec": parent.track.codec}
    _refuse_others(draft, inherited)
    return resolution


def _nearest(model: Capabilities, ratio: float) -> Canvas:
    """The canvas whose shape comes nearest to this width by height; as much too wide counts as too high."""
    return min(model.canvases, key=lambda canvas: abs(math.log(ratio / (canvas.width / canvas.height))))


def _refuse_others(draft: Draft, inherited: Mapping[str, str]) -> None:
    for own, value in inherited.items():
        asked = getattr(draft, own)
        if asked and asked != value:
            raise InvalidArgument(
                draft.name(own),
                f"an extension keeps what its video has, {value}: ask for that or leave it out",
            )
