"""What a segment was shown, found again in its video: of each latent the segment and the frames. Pure.

A manifest names latents by number (`manifest.py`, `ShownSource`); the front door tells them with their places.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from serving.segments.manifest import SegmentManifest, ShownSource
from serving.segments.path import Placed


@dataclass(frozen=True)
class ShownLatent:
    """A latent of the video, in its place."""

    number: int
    segment: Placed
    start_frame: int
    """Of the whole video."""
    frames: int
    """How many it stands for."""


@dataclass(frozen=True)
class Shown:
    """One source of a segment's history."""

    kind: str
    latents: tuple[ShownLatent, ...]
    """Empty for a reference."""
    reference: int | None
    """Of a reference: its place among the pictures."""
    tokens: int
    shows: str


def shown_to(manifest: SegmentManifest, path: Sequence[Placed]) -> tuple[Shown, ...]:
    """What a segment was shown; `path`: from the root on, at least to the segment itself."""
    return tuple(_shown(source, manifest, path) for source in manifest.history)


def _shown(source: ShownSource, manifest: SegmentManifest, path: Sequence[Placed]) -> Shown:
    if source.kind != "reference":
        latents = tuple(_placed(number, manifest, path) for number in source.numbers)
        return Shown(source.kind, latents, None, source.tokens, source.shows)
    (number,) = source.numbers
    read = manifest.effective_references[number : number + 1]
    return Shown(source.kind, (), number, source.tokens, ": ".join(filter(None, (source.shows, *read))))


def _placed(number: int, manifest: SegmentManifest, path: Sequence[Placed]) -> ShownLatent:
    """Latents of a video stand for the same number of frames, but for its first, which may stand for fewer: so the
    segment itself tells where each of them is.
    """
    whole = -(-manifest.frames // manifest.latents.count)
    first = (manifest.total_frames - 1) % whole + 1
    start = first + (number - 1) * whole if number else 0
    at = bisect_right(path, start, key=lambda placed: placed.start_frame) - 1
    return ShownLatent(number, path[at], start, whole if number else first)
