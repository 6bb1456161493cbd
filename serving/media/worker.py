"""The child process that decodes untrusted bytes. `sandbox.py` starts one per input and believes nothing it says.

Input: the operation as JSON in the first argument, the bytes on standard input (a picture) or as a file on descriptor 0
(a video). Output: one line of JSON, then raw RGB bytes. A refusal is `{"refused": "..."}`; whatever else goes wrong
ends the process with a non-zero status.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageOps, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from serving.media.lockdown import lock_down

FORMATS = ("PNG", "JPEG", "WEBP")
CODECS = frozenset({"h264", "hevc", "av1", "libdav1d"})
MAX_PIXELS = 50_000_000
MAX_SIDE = 4096
MIN_SECONDS, MAX_SECONDS = 2.0, 30.0
_SLACK = 0.1
"""Seconds by which a file may miss the bounds: containers count the last frame differently."""


class RefusedError(Exception):
    """The input is not what it must be; the message is for its owner."""


def picture(data: bytes, width: int, height: int, *, whole: bool = False) -> bytes:
    """A picture, upright: centre-cropped over black and scaled by area, or `whole` over white: RGB bytes."""
    image = _open_picture(data)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white" if whole else "black"), rgba)
    if whole:
        return _within(image.convert("RGB"), width, height).tobytes()
    cropped = _centre_crop(image.convert("RGB"), width, height)
    return cropped.resize((width, height), Image.Resampling.BOX).tobytes()


def _open_picture(data: bytes) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RefusedError(f"it has more than {MAX_PIXELS // 1_000_000} megapixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise RefusedError("it is no PNG, JPEG or WebP picture") from error
    if image.width * image.height > MAX_PIXELS:
        raise RefusedError(f"it has more than {MAX_PIXELS // 1_000_000} megapixels")
    # A phone's JPEG may carry further pictures (depth, HDR) behind the first, which is the one that is meant.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise RefusedError("it is an animation; send a single picture")
    try:
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise RefusedError("it is damaged and cannot be decoded") from error
    return image


def _within(image: Image.Image, width: int, height: int) -> Image.Image:
    """All of it, as large as fits, in the middle of white; a small one is enlarged smoothly."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    found = Image.new("RGB", (width, height), "white")
    found.paste(image.resize(size, Image.Resampling.BILINEAR), ((width - size[0]) // 2, (height - size[1]) // 2))
    return found


def _centre_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    keep_w = min(image.width, max(1, round(image.height * width / height)))
    keep_h = min(image.height, max(1, round(image.width * height / width)))
    left, top = (image.width - keep_w) // 2, (image.height - keep_h) // 2
    return image.crop((left, top, left + keep_w, top + keep_h))


def video_facts(file: BinaryIO) -> dict[str, Any]:
    """Codec, size, rate and length of an MP4, after its first frame decoded."""
    with _open_video(file) as container:
        stream = container.streams.video[0]
        first = next(container.decode(stream), None)
        if first is None:
            raise RefusedError("its video track has no frame")
        seconds = _seconds(container)
        lies_down = first.rotation % 180 != 0
        return {
            "codec": stream.codec_context.codec.canonical_name,
            "width": first.height if lies_down else first.width,
            "height": first.width if lies_down else first.height,
            "fps": float(stream.average_rate or 0),
            "seconds": seconds,
        }


def video_frames(file: BinaryIO, width: int, height: int, fps: int, frames: int) -> Iterator[bytes]:
    """`frames` frames at `fps`, each the source frame that is shown at its time, upright, centre-cropped and scaled."""
    with _open_video(file) as container:
        due = 0
        last: bytes | None = None
        start: float | None = None
        for frame in container.decode(container.streams.video[0]):
            if frame.pts is None:
                raise RefusedError("a frame has no time stamp")
            at = float(frame.pts * cast(Fraction, frame.time_base))
            start = at if start is None else start
            while last is not None and due < frames and (due + 0.5) / fps <= at - start:
                yield last
                due += 1
            if due == frames:
                return
            last = _scaled(frame, width, height)
        if last is None:
            raise RefusedError("its video track has no frame")
        for _ in range(due, frames):
            yield last


def _open_video(file: BinaryIO) -> av.container.InputContainer:
    try:
        container = av.open(file, "r", format="mp4", options={"protocol_whitelist": "", "enable_drefs": "0"})
    except (av.FFmpegError, ValueError) as error:
        raise RefusedError("it is no MP4 file that can be read") from error
    if len(container.streams.video) != 1:
        raise RefusedError("it must have exactly one video track")
    stream = container.streams.video[0]
    if stream.codec_context.name not in CODECS:
        raise RefusedError(f"its codec is {stream.codec_context.name}; H.264, H.265 and AV1 are supported")
    if max(stream.width, stream.height) > MAX_SIDE or min(stream.width, stream.height) < 16:
        raise RefusedError(f"it is {stream.width}x{stream.height}; sides of 16 to {MAX_SIDE} pixels are supported")
    stream.codec_context.thread_count = 1
    seconds = _seconds(container)
    if not MIN_SECONDS - _SLACK <= seconds <= MAX_SECONDS + _SLACK:
        raise RefusedError(
            f"it lasts {seconds:.1f} s; videos of {MIN_SECONDS:.0f} to {MAX_SECONDS:.0f} seconds are supported"
        )
    return container


def _seconds(container: av.container.InputContainer) -> float:
    stream = container.streams.video[0]
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _scaled(frame: VideoFrame, width: int, height: int) -> bytes:
    if max(frame.width, frame.height) > MAX_SIDE:
        raise RefusedError("a frame is larger than the track says")
    image = Image.fromarray(cast(NDArray[np.uint8], frame.to_ndarray(format="rgb24")))
    if frame.rotation:  # a phone held upright
        image = image.rotate(frame.rotation, expand=True)
    return _centre_crop(image, width, height).resize((width, height), Image.Resampling.BOX).tobytes()


def main() -> int:
    """Carry out one operation."""
    call = json.loads(sys.argv[1])
    av.logging.set_level(None)
    # Pillow and PyAV import parts of themselves when they are first needed; after the lock-down they could not.
    Image.preinit()
    assert WebPImagePlugin.SUPPORTED and MpoImagePlugin and TiffImagePlugin  # noqa: PT018  (EXIF needs the latter two)
    for part in pkgutil.walk_packages(av.__path__, "av."):
        if not part.name.endswith("__main__"):
            importlib.import_module(part.name)
    lock_down(memory_bytes=call["memory_bytes"], cpu_seconds=call["cpu_seconds"])
    out = sys.stdout.buffer
    try:
        if call["do"] == "picture":
            # A parent that started before this file was replaced says nothing of it.
            whole = call.get("whole", False)
            out.write(b"{}\n" + picture(sys.stdin.buffer.read(), call["width"], call["height"], whole=whole))
            return 0
        with os.fdopen(0, "rb", closefd=False) as file:
            if call["do"] == "facts":
                out.write(json.dumps(video_facts(file)).encode() + b"\n")
            else:
                size = (call["width"], call["height"], call["fps"], call["frames"])
                for number, frame in enumerate(video_frames(file, *size)):
                    out.write((b"{}\n" if number == 0 else b"") + frame)
    except (RefusedError, av.FFmpegError) as error:
        said = str(error) if isinstance(error, RefusedError) else "it is damaged and cannot be decoded"
        out.write(json.dumps({"refused": said}).encode() + b"\n")
    return 0
