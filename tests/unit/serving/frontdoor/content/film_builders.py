"""Finished videos with real encoded segments, a few small frames each."""

from __future__ import annotations

import numpy as np

from serving.jobs.record import JobRecord, JobState
from serving.media.encode import SegmentEncoder
from serving.media.track import Track
from serving.requests import Codec
from serving.segments.lineage import Segments
from serving.segments.manifest import LatentRef, ManifestCanvas, MediaPart, SegmentManifest
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.frontdoor.builders import record as build_record

TRACK = Track(codec=Codec.H264, width=64, height=64, fps=16)


async def commit(store: Store, parent: SegmentManifest | None) -> SegmentManifest:
    """A segment of 5 or 4 frames."""
    blobs = Blobs(store, "default")
    root = parent is None
    start = 0 if parent is None else parent.total_frames
    depth = 0 if parent is None else parent.depth + 1
    encoder = SegmentEncoder(TRACK, start_frame=start, sequence_start=parent.fragments if parent else 0)
    frames = np.full((5 if root else 4, 64, 64, 3), 40 * (1 + depth), np.uint8)
    fragments = [*(encoder.push(frames[:1]) if root else []), *encoder.push(frames[1 if root else 0 :])]
    fragments += encoder.finish()
    data = b"".join(fragment.data for fragment in fragments)
    part = MediaPart(
        blob=await blobs.put(data),
        size=len(data),
        fragment_sizes=tuple(len(fragment.data) for fragment in fragments),
        fragment_frames=tuple(fragment.frames for fragment in fragments),
    )
    nothing = LatentRef(blob=await blobs.put(b"nothing"), start=0, count=1)
    manifest = SegmentManifest(
        kind="generated",
        tenant="default",
        video="vid_" + "a" * 26,
        parent=parent.digest() if parent else None,
        depth=depth,
        model="sprite-2",
        model_digest="ab" * 32,
        prompt="",
        effective_prompt="",
        seed=1,
        steps=1,
        canvas=ManifestCanvas(aspect_ratio="1:1", height=64, width=64),
        track=TRACK,
        frames=len(frames),
        start_frame=start,
        latents=nothing,
        anchor=nothing,
        tail=nothing,
        init=await blobs.put(encoder.init),
        parts=(part,),
        thumbnail=await blobs.put(b"png"),
        trail=parent.next_trail() if parent else None,
    )
    await Segments(store, "default").commit(manifest)
    return manifest


async def finished(store: Store, segments: int) -> tuple[JobRecord, list[SegmentManifest]]:
    made: list[SegmentManifest] = []
    for _ in range(segments):
        made.append(await commit(store, made[-1] if made else None))
    digests = tuple(manifest.digest() for manifest in made)
    return build_record(state=JobState.SUCCEEDED, segments=digests), made
