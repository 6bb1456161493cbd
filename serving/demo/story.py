"""What the demo makes, and how: one film in three parts, and every other kind of request, each told as a story.

`serving/cli/demo.py` runs it against an embedded Longtake; `measure.py` reads back what came of it, `page.py` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.families.base import Frames
from engines.families.sprite.world import COLOUR_NAMES, FIRST_SKY, Pattern, picture
from serving.client import Client, create_request
from serving.demo.measure import Reading, read_film, read_image
from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest, Extension, Media, Segment, Video
from serving.media.still import png

_BEGIN: Final = (
    "a red bar at the top left moves right and a cyan corner at the bottom right stays under a navy sky. "
    "both stay, the camera pans right. the camera pans right. the camera holds. "
    "the camera pans back. the camera pans left"
)
_TURN: Final = "the red bar turns. it moves down. the cyan corner goes along, the camera pans right. the camera holds"
_LAP: Final = ". ".join(["the camera pans right"] * 7) + ". the red bar moves right"
_PICTURES: Final = (("red", "yellow", "blue", "cyan"), ("green", "purple", "yellow", "yellow"))
"""The colours of two pictures' 2x2 blocks, row by row. The model was trained with neither of them."""
_NAMED: Final = (
    "<ref1> at the top left moves right and <ref2> at the bottom right stays in the scene of <ref3>. "
    "<ref2> moves up, <ref1> stops. <ref1> goes along, the camera pans left. the camera pans back"
)
_IMAGE: Final = "a purple slash at the middle left and a green square at the bottom right under a white sky"
_ON: Final = "the slash moves right. it stops, the camera pans left. the camera pans back. the square moves up"
_SEED, _IMAGE_SEED = 4, 6
_MOST_SEGMENTS: Final = 100
"""Of a film: more than any has."""


@dataclass
class Piece:
    """One thing that the demo made."""

    title: str
    video: Video
    files: Sequence[Path]
    pictures: Sequence[bytes]
    """PNGs that went in."""
    segments: Sequence[Segment]
    """Of the whole video, root first, each with what it was shown; none of an image."""
    reading: Reading


class DemoFailed(Exception):
    """A job of the demo failed."""


Follow = Callable[[Client, str, str], Video]
"""(client, video id, label) → the video as it ended, with progress shown on the way."""


def play(client: Client, folder: Path, follow: Follow) -> Iterator[Piece]:
    """Make everything, one after the other; each piece as soon as it is saved and read. Raises `DemoFailed`."""
    shop = _Shop(client, folder, follow)
    begun = shop.make("1 away and back", create_request(_BEGIN, seconds=6, seed=_SEED, aspect_ratio="16:9"))
    yield begun
    turned = shop.make("2 extended: a turn", _extension(begun, _TURN, seconds=4))
    yield turned
    yield shop.make("3 extended: once round", _extension(turned, _LAP, seconds=8))

    inputs = [reference_picture(colours) for colours in _PICTURES] + [png(begun.reading.frames[0])]
    given = [shop.upload(f"reference-{number}.png", data) for number, data in enumerate(inputs, 1)]
    request = create_request(_NAMED, seconds=4, seed=_SEED, references=given, aspect_ratio="16:9")
    yield shop.make("4 two pictures by name", request, inputs, scene=begun.reading.frames[0])

    request = create_request(_IMAGE, kind=Video.KIND_IMAGE, images=2, seed=_IMAGE_SEED, aspect_ratio="16:9")
    drawn = shop.make("5 images", request)
    yield drawn
    start = drawn.files[0].read_bytes()
    request = create_request(_ON, seconds=4, seed=_IMAGE_SEED, first_frame=shop.upload("start.png", start))
    yield shop.make("6 from an image", request, [start])


class _Shop:
    def __init__(self, client: Client, folder: Path, follow: Follow) -> None:
        self._client = client
        self._folder = folder
        self._follow = follow

    def upload(self, name: str, picture: bytes) -> Media:
        path = self._folder / name
        path.write_bytes(picture)
        return Media(file_id=self._client.upload(path).id)

    def make(
        self, title: str, request: CreateVideoRequest, pictures: Sequence[bytes] = (), scene: Frames | None = None
    ) -> Piece:
        made = self._client.create(request)
        done = self._follow(self._client, made.id, title)
        if done.state != Video.SUCCEEDED:
            raise DemoFailed(f"{title}: {done.error.message or 'it was cancelled'}")
        files = self._download(done, "-".join(re.findall(r"\w+", title)))
        if done.kind == Video.KIND_IMAGE:
            return Piece(title, done, files, pictures, (), read_image(files[0], done))
        segments = list(self._client.segments(done.id, limit=_MOST_SEGMENTS))
        reading = read_film(files[0], done, segments, first_given=request.HasField("first_frame"), scene=scene)
        return Piece(title, done, files, pictures, segments, reading)

    def _download(self, video: Video, stem: str) -> list[Path]:
        names = [f"{stem}-{number}.png" for number in range(1, len(video.image_urls) + 1)] or [f"{stem}.mp4"]
        files = [self._folder / name for name in names]
        for number, file in enumerate(files):
            self._client.download(video.id, file, number=number)
        return files


def _extension(of: Piece, prompt: str, *, seconds: int) -> CreateVideoRequest:
    return create_request(prompt, seconds=seconds, seed=_SEED, extends=Extension(video_id=of.video.id))


def reference_picture(colours: Sequence[str]) -> bytes:
    """A PNG of 256x256: four blocks of these colours, row by row."""
    a, b, c, d = (COLOUR_NAMES.index(colour) for colour in colours)
    return png(picture(Pattern((a, b, c, d)), FIRST_SKY), scale=16)
