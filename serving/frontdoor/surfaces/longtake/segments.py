"""Segments into messages of `longtake.v1`, and what each was shown. `videos.py` answers with them."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from serving.frontdoor.edge.timestamps import fitting
from serving.frontdoor.videos import Lineage, SegmentHistory
from serving.gen.longtake.v1 import videos_pb2
from serving.segments.path import PathSegment
from serving.segments.shown import Shown, ShownLatent

_KINDS = {
    "anchor": videos_pb2.ShownSource.ANCHOR,
    "newest": videos_pb2.ShownSource.NEWEST,
    "memory": videos_pb2.ShownSource.MEMORY,
    "reference": videos_pb2.ShownSource.REFERENCE,
}


def lineage_message(found: Lineage) -> videos_pb2.Lineage:
    """A page of a path."""
    lineage = videos_pb2.Lineage(
        segments=[segment_message(segment) for segment in found.segments], next_page_token=found.next_token
    )
    if found.head is not None:
        fps = found.head.track.fps
        lineage.duration.CopyFrom(_time(found.head.total_frames, fps))
        for segment, history in zip(lineage.segments, found.histories, strict=False):
            _add_history(segment, history, fps)
    return lineage


def segment_message(segment: PathSegment) -> videos_pb2.Segment:
    """One committed segment."""
    return fitting(
        videos_pb2.Segment,
        digest=segment.digest,
        index=segment.depth,
        frames=segment.frames,
        start_frame=segment.start_frame,
        parent=segment.parent or "",
        video_id=segment.video,
        effective_prompt=segment.effective_prompt,
        ingested=segment.ingested,
        media_bytes=segment.size,
    )


def _add_history(segment: videos_pb2.Segment, history: SegmentHistory, fps: int) -> None:
    segment.history.extend(_source(shown, fps) for shown in history.shown)
    segment.history_left_out = history.left_out


def _source(shown: Shown, fps: int) -> videos_pb2.ShownSource:
    return fitting(
        videos_pb2.ShownSource,
        kind=_KINDS.get(shown.kind, videos_pb2.ShownSource.KIND_UNSPECIFIED),
        latents=[_latent(latent, fps) for latent in shown.latents],
        reference=shown.reference,
        tokens=shown.tokens,
        shows=shown.shows,
    )


def _latent(latent: ShownLatent, fps: int) -> videos_pb2.ShownLatent:
    return fitting(
        videos_pb2.ShownLatent,
        number=latent.number,
        segment=latent.segment.digest,
        segment_index=latent.segment.depth,
        start_frame=latent.start_frame,
        frames=latent.frames,
        time=_time(latent.start_frame, fps),
    )


def _time(frames: int, fps: int) -> Duration:
    """How long so many frames take."""
    length = Duration()
    length.FromMilliseconds(frames * 1000 // fps)
    return length
