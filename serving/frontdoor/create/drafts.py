"""What a client gave, before anything is known to be right. The surfaces build drafts, `settle.py` makes requests of
them.

None and empty mean: the client left it open. Field names in messages are those of the caller's own wire: a surface
hands in `names`, from the name here to the name there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from serving.errors import InvalidArgument
from serving.requests import Kind

MOST_PICTURES = 64
"""Pictures of a request that are looked at. No model takes nearly so many, and a message has room for millions."""
_SAME: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class MediaDraft:
    """A picture or video that goes in: one of URL, file id and bytes."""

    field: str
    """What the caller calls it, e.g. `reference_images[0]`."""
    url: str = ""
    file_id: str = ""
    data: bytes | None = None

    def asked(self) -> list[str | None]:
        """What it names, in short."""
        return [self.url, self.file_id, None if self.data is None else hashlib.sha256(self.data).hexdigest()]


def check_count(field: str, count: int) -> None:
    """Refuse a list of pictures that no model could take, before anything is made of it. Raises `InvalidArgument`."""
    if count > MOST_PICTURES:
        raise InvalidArgument(field, f"there are {count}; at most {MOST_PICTURES} are looked at")


@dataclass(frozen=True)
class ExtensionDraft:
    """The video that is extended: one of a Longtake video's id and media."""

    video_id: str = ""
    media: MediaDraft | None = None
    segment: str = ""
    """A segment's digest to branch from; empty for the head."""


@dataclass(frozen=True)
class Draft:
    """A create as it came in."""

    kind: Kind = Kind.VIDEO
    model: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    seconds: int | None = None
    aspect_ratio: str = ""
    resolution: str = ""
    codec: str = ""
    seed: int | None = None
    steps: int | None = None
    first_frame: MediaDraft | None = None
    references: tuple[MediaDraft, ...] = ()
    extends: ExtensionDraft | None = None
    images: int | None = None
    deadline_ms: int | None = None
    priority: int | None = None
    ttl_ms: int | None = None
    request_id: str = ""
    """Makes a resent create return the same job."""
    traceparent: str = ""
    """The caller's span, as the header has it: believed no further than its grammar."""
    names: Mapping[str, str] = field(default_factory=lambda: _SAME)

    def digest(self) -> str:
        """SHA-256 of what is asked for, as it was asked for: two equal ones ask for the same, whatever became since of
        the media that they name. When, how urgently, by which key and in which trace is left out.
        """
        video = [self.kind.value, self.seconds, self.aspect_ratio, self.resolution, self.codec, self.images]
        work = [self.model, self.prompt, self.seed, self.steps]
        source = [self.extends.video_id, self.extends.segment] if self.extends else None
        media = [self.first_frame, *self.references, *([self.extends.media] if self.extends else [])]
        if self.negative_prompt:
            work.append(self.negative_prompt)
        asked = [video, work, source, [one.asked() if one else None for one in media]]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def name(self, own: str) -> str:
        """What the caller's wire calls this field."""
        return self.names.get(own, own)
