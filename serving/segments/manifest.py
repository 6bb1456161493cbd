"""A segment's manifest: what was made, from what, and all that the next extension needs.

A manifest names its parent by digest, so a video is a path in a Merkle DAG: it can branch, and cannot form a cycle.
One manifest and a bounded number of blobs are read to extend a video, however long it is: of what was before, a
manifest lists the newest in its trail (`trail.py`). The Director writes it (after the blobs, before the job record);
the front door serves media from it.

    { JSON, in one line } newline, the trail's lines     (a root has no trail, and no newline)
"""

from __future__ import annotations

import hashlib
from typing import Literal, Self

from pydantic import Field, PrivateAttr

from serving.frozen import Digest, Stored
from serving.media.part import MediaPart
from serving.media.track import Track
from serving.segments.trail import Line, Trail, packed_id, trail_behind

_ADDED = ("earlier", "trail", "history", "memory", "facts")
"""Not said where there is nothing to say: so an earlier version's manifest has the bytes that it wrote."""

__all__ = ["Earlier", "LatentRef", "ManifestCanvas", "MediaPart", "SegmentManifest"]


class LatentRef(Stored):
    """Some latents of a stored blob (safetensors, tensor `latents` float32 [T, C, h, w])."""

    blob: Digest
    start: int = Field(ge=0)
    count: int = Field(ge=1)


class ManifestCanvas(Stored):
    """The native frame size."""

    aspect_ratio: str
    height: int
    width: int


class KeptLatent(Stored):
    """A latent of the video that a later segment may be shown again."""

    number: int = Field(ge=0)
    """Among the video's latents."""
    latent: LatentRef


class ShownSource(Stored):
    """Something that a segment was shown besides its caption: see `engines.families.history.Source`."""

    kind: str
    numbers: tuple[int, ...]
    tokens: int = Field(ge=0)
    shows: str = ""


class Earlier(Stored):
    """What a manifest of the version with pages (`page.py`) says of the segments before its own."""

    fragments: int = Field(ge=1)
    """Fragments of their media: the number of the first one behind them."""
    paged: int = Field(ge=0)
    """So many segments, from the root on, are found by `page`. The others are found by the parents."""
    page: Digest | None
    """The newest page of the path; None while there is none."""


class SegmentManifest(Stored):
    """See the module. Everything is in frames and digests; no clock, so that a resumed job writes the same bytes."""

    kind: Literal["generated", "ingested"]
    tenant: str
    video: str
    """The job that made this segment."""
    parent: Digest | None
    depth: int
    """Segments between the root and this one; 0 for a root."""
    model: str
    model_digest: str
    prompt: str
    effective_prompt: str
    """The caption that this segment was made with."""
    seed: int
    steps: int
    canvas: ManifestCanvas
    track: Track
    frames: int
    """Frames of this segment."""
    start_frame: int
    """Frames before it."""
    latents: LatentRef
    """Its own; of what was ingested for a model that goes on from a clip, the newest of them."""
    anchor: LatentRef
    """The video's first latent."""
    tail: LatentRef
    """The newest latents, as many as the family's history takes (fewer when the video is shorter)."""
    references: tuple[LatentRef, ...] = ()
    effective_references: tuple[str, ...] = ()
    history_left_out: int = 0
    """Latents of the video that the history budget had no room for."""
    history: tuple[ShownSource, ...] = ()
    """What it was shown; empty in what an earlier version wrote."""
    memory: tuple[KeptLatent, ...] = ()
    """What of the video may be shown again, as the family's plan keeps it."""
    facts: str = ""
    """What the family has to know to plan the next segment: its own."""
    init: Digest
    """The track's `ftyp`+`moov`."""
    parts: tuple[MediaPart, ...]
    """This segment's media. With neither `trail` nor `earlier`: of the whole video, root first, this segment last."""
    thumbnail: Digest
    """A small PNG of the segment's last frame."""
    earlier: Earlier | None = None
    """Of the version with pages alone."""
    trail: Trail | None = None
    """None for a root, and in what an earlier version wrote: that has `earlier`, or names all `parts` itself."""
    _as_read: bytes | None = PrivateAttr(default=None)
    """Its bytes, where they are not those that this version writes: its name is their digest."""

    @property
    def total_frames(self) -> int:
        """Frames of the video up to and including this segment."""
        return self.start_frame + self.frames

    @property
    def fragments(self) -> int:
        """Fragments of the video's media up to and including this segment's."""
        before = self.trail or self.earlier
        return (before.fragments if before else 0) + sum(len(part.fragment_sizes) for part in self.parts)

    def line(self) -> Line:
        """This segment, as the trails behind it list it."""
        part, video = self.parts[-1], packed_id(self.video)
        return Line(
            digest=self.digest(),
            blob=part.blob,
            size=part.size,
            frames=self.frames,
            ingested=self.kind == "ingested",
            effective_prompt=None if video is None else self.effective_prompt,
            packed_video=video or b"",
        )

    def next_trail(self) -> Trail:
        """The trail of a segment behind this one."""
        return trail_behind(self.trail, self.line(), depth=self.depth, fragments=self.fragments)

    def encode(self) -> bytes:
        """Canonical bytes: without what it lacks, those that an earlier version wrote; those that a later one did."""
        if self._as_read is not None:
            return self._as_read
        text = self.model_dump_json(exclude={name for name in _ADDED if not getattr(self, name)})
        return text.encode() + (b"\n" + self.trail.packed if self.trail else b"")

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From its bytes. Raises `ValueError` for what this version cannot read."""
        text, _, packed = data.partition(b"\n")
        manifest = cls.model_validate_json(text)
        if manifest.trail is not None:
            manifest = manifest.model_copy(update={"trail": manifest.trail.unpacked(packed)})
        if manifest.encode() != data:
            manifest._as_read = data  # noqa: SLF001  (its own)
        return manifest

    def digest(self) -> str:
        """SHA-256 of the canonical bytes: the segment's name."""
        return hashlib.sha256(self.encode()).hexdigest()
