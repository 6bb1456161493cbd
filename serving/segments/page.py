"""A page of a video's path: what lineage and film need of up to 64 segments, in one object.

The version before wrote pages; this one reads them (`older.py`), and its collector follows them. Each names the page
before, and a manifest names the newest page of its path (`Earlier`). Branches share the pages of what they share.

    manifest ──parent──▶ manifest … fewer than 16 … ──page──▶ page ──before──▶ page ──before──▶ page
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from serving.frozen import Digest, Stored
from serving.segments.path import PathSegment


class PagedSegment(Stored):
    """A line of a page. What follows from the lines before it is left out."""

    digest: Digest
    video: str
    ingested: bool
    effective_prompt: str
    frames: int = Field(ge=1)
    blob: Digest
    size: int

    def told(self) -> dict[str, Any]:
        """What this version knows of it."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class Page(Stored):
    """See the module."""

    before: Digest | None
    """The page before; None where this is the first."""
    parent: Digest | None
    """The segment that the first one continues; None for a root. Behind a first page it is a manifest of an earlier
    version, which names the media of its whole video by itself."""
    depth: int
    """Of its first segment."""
    start_frame: int
    """Frames of the video before its first segment."""
    segments: tuple[PagedSegment, ...] = Field(min_length=1)

    def path(self) -> Iterator[PathSegment]:
        """Its segments, oldest first."""
        parent, start_frame = self.parent, self.start_frame
        for number, line in enumerate(self.segments):
            yield PathSegment(parent=parent, depth=self.depth + number, start_frame=start_frame, **line.told())
            parent, start_frame = line.digest, start_frame + line.frames

    def encode(self) -> bytes:
        """Canonical bytes."""
        return self.model_dump_json().encode()

    def digest(self) -> str:
        """SHA-256 of the canonical bytes: the page's name."""
        return hashlib.sha256(self.encode()).hexdigest()
