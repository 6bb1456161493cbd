"""Decodes videos of users: what a file says of itself, and its frames as they are shown.

Only `worker.py` calls it, in a child process that could do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
from av.stream import Disposition
from av.video.stream import VideoStream

from serving.media.pictures import RefusedError
from serving.media.shown import MAX_SIDE, Shown, check, turn_of

CODECS = frozenset({"h264", "hevc", "av1", "libdav1d"})
MIN_SECONDS, MAX_SECONDS = 2.0, 30.0
MAX_PIXELS = 15_000_000_000
"""Of all its frames: half a minute of 3840x2160 at 60 frames a second, or of 1920x1080 at 240."""
_SLACK = 0.1
"""Seconds by which a file may miss the bounds: containers count the last frame differently."""
_WIDEST = 16
"""No camera and no disc has pixels that are so many times as wide as high, or as high as wide."""


def facts(file: BinaryIO) -> dict[str, Any]:
    """Codec, size on the screen, rate and length of an MP4, after its first frame decoded. Raises `RefusedError`."""
    with _track(file) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise RefusedError("its video track has no frame")
        check(first)
        width, height = round(first.width * _pixel(stream)) or 1, first.height
        lies_down = turn_of(first).over
        return {
            "codec": stream.codec_context.codec.canonical_name,
            "width": height if lies_down else width,
            "height": width if lies_down else height,
            "fps": float(stream.average_rate or 0),
            "seconds": _seconds(container, stream),
        }


def frames(file: BinaryIO, width: int, height: int, fps: int, count: int) -> Iterator[bytes]:
    """`count` frames at `fps`, each the source frame that is shown at its time, upright, centre-cropped and scaled: RGB
    bytes. What is shown at none of these times is decoded and no more. Raises `RefusedError`.
    """
    with _track(file) as (container, stream):
        due = 0
        shown: Shown | None = None
        start: float | None = None
        for frame in container.decode(stream):
            if frame.pts is None:
                raise RefusedError("a frame has no time stamp")
            at = float(frame.pts * cast(Fraction, frame.time_base))
            start = at if start is None else start
            while shown is not None and due < count and (due + 0.5) / fps <= at - start:
                yield shown.pixels()
                due += 1
            if due == count:
                return
            shown = Shown(frame, width, height, _pixel(stream))
        if shown is None:
            raise RefusedError("its video track has no frame")
        for _ in range(due, count):
            yield shown.pixels()


@contextmanager
def _track(file: BinaryIO) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """The one video track of an MP4, within bounds. Raises `RefusedError`."""
    try:
        container = av.open(file, "r", format="mp4", options={"protocol_whitelist": "", "enable_drefs": "0"})
    except (av.FFmpegError, ValueError) as error:
        raise RefusedError("it is no MP4 file that can be read") from error
    with container:
        # A cover is a track with one still.
        tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
        if len(tracks) != 1:
            raise RefusedError("it must have exactly one video track")
        (stream,) = tracks
        if stream.codec_context.name not in CODECS:
            raise RefusedError(f"its codec is {stream.codec_context.name}; H.264, H.265 and AV1 are supported")
        if max(stream.width, stream.height) > MAX_SIDE or min(stream.width, stream.height) < 16:
            raise RefusedError(f"it is {stream.width}x{stream.height}; sides of 16 to {MAX_SIDE} pixels are supported")
        seconds = _seconds(container, stream)
        if not MIN_SECONDS - _SLACK <= seconds <= MAX_SECONDS + _SLACK:
            raise RefusedError(
                f"it lasts {seconds:.1f} s; videos of {MIN_SECONDS:.0f} to {MAX_SECONDS:.0f} seconds are supported"
            )
        count = stream.frames or round(seconds * float(stream.average_rate or 0))
        if count * stream.width * stream.height > MAX_PIXELS:
            raise RefusedError(
                f"it has {count} frames of {stream.width}x{stream.height}; at most {MAX_PIXELS // 10**6} megapixels in "
                "all are decoded: send fewer frames a second, or smaller ones"
            )
        stream.codec_context.thread_count = 1
        yield container, stream


def _seconds(container: av.container.InputContainer, stream: VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _pixel(stream: VideoStream) -> float:
    """Width by height of a pixel on the screen; 1 where the file does not say. Raises `RefusedError`."""
    told = stream.sample_aspect_ratio
    if not told or told <= 0:
        return 1.0
    if not 1 / _WIDEST <= told <= _WIDEST:
        raise RefusedError(f"its pixels are {told.numerator}:{told.denominator}, which no screen shows")
    return float(told)
