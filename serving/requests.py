"""One frozen request for all surfaces.

The surfaces turn their messages into drafts, and `frontdoor/create/settle.py` makes a `VideoRequest` of each; from
there on nothing knows which wire it came by. Media are already in the store: a request names them by digest, so that it
stays true for ever.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any

from serving.frozen import Digest, Stored


class Kind(StrEnum):
    """What a job makes."""

    VIDEO = "video"
    IMAGE = "image"


class Codec(StrEnum):
    """Video codecs that Longtake writes."""

    AV1 = "av1"
    H264 = "h264"


class OwnSource(Stored):
    """A video that Longtake made: extended from stored latents."""

    video: str
    segment: Digest
    """The manifest that is extended; the video's head unless the caller named an earlier one."""


class ForeignSource(Stored):
    """A video from elsewhere: ingested as a root segment first."""

    blob: Digest
    seconds: float
    """As probed."""
    height: int
    width: int


class VideoRequest(Stored):
    """What a client asked for, complete: every default is filled in, every medium is a digest.

    `fingerprint()` compares two of them.
    """

    kind: Kind = Kind.VIDEO
    model: str
    prompt: str = ""
    negative_prompt: str = ""
    seconds: int
    """Length of the new part; 0 for an image."""
    aspect_ratio: str
    resolution: str
    codec: Codec = Codec.AV1
    steps: int
    seed: int | None = None
    """None: drawn when the job is planned, and recorded there."""
    first_frame: Digest | None = None
    references: tuple[Digest, ...] = ()
    extends: OwnSource | None = None
    ingests: ForeignSource | None = None
    images: int = 1
    """How many images an image job makes; 1 for a video."""

    def fingerprint(self) -> str:
        """SHA-256 over the canonical request."""
        canonical = json.dumps(_asked(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: VideoRequest) -> tuple[str, ...]:
        """Names of the fields in which the two differ."""
        mine, theirs = _asked(self), _asked(other)
        return tuple(name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))


def _asked(request: Stored) -> dict[str, Any]:
    """As JSON has it, without what a later version added and this request does not use."""
    parts = {name: value for name in type(request).model_fields if isinstance(value := getattr(request, name), Stored)}
    unused = {name for name, value in (request.model_extra or {}).items() if not value}
    asked = request.model_dump(mode="json", exclude=unused)
    return {**asked, **{name: _asked(part) for name, part in parts.items()}}
