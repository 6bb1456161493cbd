"""What the demo makes, and how: every kind of request once, and a chain of extensions.

`serving/cli/demo.py` runs it against an embedded Longtake; the pages are `page.py`'s.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from engines.families.sprite import world
from serving.client import Client, create_request
from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest, Extension, Media, Video

EXTENSIONS = 4
_REFERENCE = (
    "red yellow yellow red",
    "yellow blue blue yellow",
    "yellow green green yellow",
    "red purple cyan red",
)
"""The reference picture: 4x4 blocks in all six colours of the model's palette."""


@dataclass
class Piece:
    """One thing that the demo made."""

    title: str
    video: Video
    files: list[Path] = field(default_factory=list)
    sheet: Path | None = None
    readings: dict[str, str] = field(default_factory=dict)
    picture: bytes | None = None
    """The picture that went in, PNG."""


class DemoFailed(Exception):
    """A job of the demo failed."""


Follow = Callable[[Client, str, str], Video]
"""(client, video id, label) → the video as it ended, with progress shown on the way."""


def play(client: Client, folder: Path, follow: Follow) -> Iterator[Piece]:
    """Make everything, one after the other; each piece as soon as its files are saved. Raises `DemoFailed`."""
    shop = _Shop(client, folder, follow)
    root = shop.make("1 text", create_request("a red circle moves right over a white background", seconds=3, seed=7))
    yield root
    last = root
    for number in range(1, EXTENSIONS + 1):
        request = create_request(seconds=2, extends=Extension(video_id=last.video.id))
        last = shop.make(f"{number + 1} extension {number} of {EXTENSIONS}", request)
        yield last
    picture = reference_picture()
    kept = shop.upload("reference.png", picture)
    request = create_request("<ref1> moves up over a navy background", seconds=3, references=[kept], aspect_ratio="1:1")
    yield shop.make("6 reference", request, picture)
    start = first_frame()
    request = create_request(
        "it moves left", seconds=3, first_frame=shop.upload("start.png", start), aspect_ratio="16:9"
    )
    yield shop.make("7 first frame", request, start)
    request = create_request(
        "a blue triangle on a grey background", kind=Video.KIND_IMAGE, images=2, aspect_ratio="1:1"
    )
    yield shop.make("8 image", request)


class _Shop:
    def __init__(self, client: Client, folder: Path, follow: Follow) -> None:
        self._client = client
        self._folder = folder
        self._follow = follow

    def upload(self, name: str, picture: bytes) -> Media:
        path = self._folder / name
        path.write_bytes(picture)
        return Media(file_id=self._client.upload(path).id)

    def make(self, title: str, request: CreateVideoRequest, picture: bytes | None = None) -> Piece:
        made = self._client.create(request)
        done = self._follow(self._client, made.id, title)
        if done.state != Video.SUCCEEDED:
            raise DemoFailed(f"{title}: {done.error.message or 'it was cancelled'}")
        piece = Piece(title, done, picture=picture)
        stem = title.replace(" ", "-")
        for number in range(len(done.image_urls) or 1):
            suffix = f"-{number + 1}.png" if done.image_urls else ".mp4"
            piece.files.append(self._folder / f"{stem}{suffix}")
            self._client.download(done.id, piece.files[-1], number=number)
        return piece


def reference_picture() -> bytes:
    """A PNG of 256x256 with the model's six colours in 4x4 blocks."""
    rows = [[_colour(name) for name in row.split()] for row in _REFERENCE]
    return _png(np.array(rows, np.uint8).repeat(64, 0).repeat(64, 1))


def first_frame() -> bytes:
    """A PNG of 448x256 (7:4): a green square, two steps from the right wall, on black."""
    frame = np.empty((256, 448, 3), np.uint8)
    frame[:] = world.BACKGROUND_RGB[world.BACKGROUND_NAMES.index("black")]
    frame[64:192, 256:384] = _colour("green")
    frame[96:160, 288:352] = frame[0, 0]
    return _png(frame)


def _colour(name: str) -> tuple[int, ...]:
    return tuple(int(value) for value in world.COLOUR_RGB[world.COLOUR_NAMES.index(name)])


def _png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
