"""A page of a video's path: what lineage and film need of up to `PAGE` segments, in one object.

Pages are append-only and named by their digest, as manifests are. Each names the page before, and a manifest names the
newest page of its path (`Earlier`), so a video of an hour is read in some seventy reads and not in 3,600. Branches
share the pages of what they share. `lineage.py` writes and reads them; the collector follows them.

    manifest ──parent──▶ manifest … fewer than `STEP` … ──page──▶ page ──before──▶ page ──before──▶ page
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pydantic import Field

from serving.frozen import Digest, Frozen
from serving.segments.manifest import SegmentManifest

STEP = 16
"""Segments between two pages: so many manifests are read one by one behind the newest page, at most."""
PAGE = 64
"""Segments of a full page. One that is not full is replaced by the next, which holds its segments too."""


@dataclass(frozen=True)
class PathSegment:
    """One segment of a video's path, as lineage and film see it."""

    digest: str
    parent: str | None
    depth: int
    video: str
    """The job that made it."""
    ingested: bool
    effective_prompt: str
    frames: int
    start_frame: int
    blob: str
    """Its media: `size` bytes of `moof`+`mdat` pairs."""
    size: int

    @classmethod
    def of(cls, digest: str, manifest: SegmentManifest) -> Self:
        """What a manifest says of its own segment."""
        part = manifest.parts[-1]
        return cls(
            digest=digest,
            parent=manifest.parent,
            depth=manifest.depth,
            video=manifest.video,
            ingested=manifest.kind == "ingested",
            effective_prompt=manifest.effective_prompt,
            frames=manifest.frames,
            start_frame=manifest.start_frame,
            blob=part.blob,
            size=part.size,
        )


class PagedSegment(Frozen):
    """A line of a page. What follows from the lines before it is left out."""

    digest: Digest
    video: str
    ingested: bool
    effective_prompt: str
    frames: int = Field(ge=1)
    blob: Digest
    size: int


class Page(Frozen):
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
            yield PathSegment(parent=parent, depth=self.depth + number, start_frame=start_frame, **dict(line))
            parent, start_frame = line.digest, start_frame + line.frames

    @property
    def full(self) -> bool:
        """Whether the next segments need a page of their own."""
        return len(self.segments) + STEP > PAGE

    def encode(self) -> bytes:
        """Canonical bytes."""
        return self.model_dump_json().encode()

    def digest(self) -> str:
        """SHA-256 of the canonical bytes: the page's name."""
        return hashlib.sha256(self.encode()).hexdigest()


def page_of(path: list[PathSegment], before: str | None) -> Page:
    """The page of these segments, oldest first, behind the page `before`."""
    first = path[0]
    names = PagedSegment.model_fields
    lines = tuple(PagedSegment(**{name: getattr(segment, name) for name in names}) for segment in path)
    return Page(before=before, parent=first.parent, depth=first.depth, start_frame=first.start_frame, segments=lines)
