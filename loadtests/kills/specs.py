"""What is made while Longtake is struck: jobs of each kind, again and again. Equal specs must give equal bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serving.client import create_request
from serving.gen.longtake.v1 import videos_pb2

PROMPT = "a red square moves right under a white sky"
Kind = Literal["text", "image", "first frame", "reference", "extension"]


@dataclass(frozen=True)
class Base:
    """What a tenant made in peace, and others are made from: an extension's video, a picture's URL."""

    video: str
    picture: str


@dataclass(frozen=True)
class Spec:
    """A job."""

    kind: Kind
    seconds: int
    steps: int
    seed: int

    def request(self, base: Base | None) -> videos_pb2.CreateVideoRequest:
        """A create under a fresh idempotency key. `base` is needed by all but texts and images."""
        wanted = create_request(PROMPT, seconds=self.seconds, aspect_ratio="1:1", steps=self.steps, seed=self.seed)
        if self.kind == "image":
            return create_request(
                PROMPT, kind=videos_pb2.Video.KIND_IMAGE, aspect_ratio="1:1", steps=self.steps, seed=self.seed, images=2
            )
        if self.kind == "text":
            return wanted
        assert base is not None, "make the base first"
        if self.kind == "extension":
            wanted.aspect_ratio = ""
            wanted.extends.video_id = base.video
        elif self.kind == "reference":
            wanted.references.add(url=base.picture)
        else:
            wanted.first_frame.url = base.picture
        return wanted


BASE_VIDEO = Spec("text", 2, 30, 10)
BASE_PICTURE = Spec("image", 0, 30, 9)
SPECS = (
    Spec("text", 1, 50, 11),
    Spec("text", 2, 50, 12),
    Spec("extension", 2, 40, 15),
    Spec("text", 4, 40, 13),
    Spec("reference", 1, 40, 16),
    Spec("image", 0, 40, 17),
    Spec("first frame", 2, 40, 18),
    Spec("text", 6, 50, 14),
)
