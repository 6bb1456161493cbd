"""One segment of a video's path, as lineage and film see it, however it is stored. `lineage.py` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

from serving.segments.manifest import SegmentManifest
from serving.segments.trail import Line, Told


class Placed(NamedTuple):
    """Where it stands."""

    digest: str
    depth: int
    start_frame: int
    frames: int


@dataclass(frozen=True)
class PathSegment:
    """All that is told of it."""

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

    @property
    def placed(self) -> Placed:
        """Without what is told of it."""
        return Placed(self.digest, self.depth, self.start_frame, self.frames)


@dataclass(frozen=True)
class Listed:
    """A line of a trail, in its place."""

    line: Line
    parent: str | None
    depth: int
    start_frame: int

    @classmethod
    def itself(cls, manifest: SegmentManifest) -> Self:
        """A manifest's own segment, as the next trail lists it."""
        return cls(manifest.line(), manifest.parent, manifest.depth, manifest.start_frame)

    @property
    def placed(self) -> Placed:
        """Without what is told of it."""
        return Placed(self.line.digest, self.depth, self.start_frame, self.line.frames)

    def told(self, told: Told) -> PathSegment:
        """With what the line may lack."""
        return PathSegment(
            digest=self.line.digest,
            parent=self.parent,
            depth=self.depth,
            video=told.video,
            ingested=self.line.ingested,
            effective_prompt=told.effective_prompt,
            frames=self.line.frames,
            start_frame=self.start_frame,
            blob=self.line.blob,
            size=self.line.size,
        )


def listed_by(manifest: SegmentManifest) -> list[Listed]:
    """The segments of a manifest's trail, newest first. The oldest has no parent here: who knows it is read next."""
    lines = [*manifest.trail.lines()] if manifest.trail else []
    parents = [None, *(line.digest for line in lines)]
    depth, start_frame = manifest.depth, manifest.start_frame
    listed: list[Listed] = []
    for line, parent in zip(reversed(lines), reversed(parents[:-1]), strict=True):
        depth, start_frame = depth - 1, start_frame - line.frames
        listed.append(Listed(line, parent, depth, start_frame))
    return listed
