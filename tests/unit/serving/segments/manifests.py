"""All manifests of a video, for tests that look into each."""

from __future__ import annotations

from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest


async def manifests_of(segments: Segments, head: str) -> list[SegmentManifest]:
    """From the root to the head."""
    return [await segments.get(segment.digest) for segment in await segments.path(await segments.get(head))]
