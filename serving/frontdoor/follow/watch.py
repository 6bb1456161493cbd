"""What happens to one video, as a stream that can be taken up again at any front door.

A cursor is a position in the job's own story (how many segments were told, which version, how many steps), so nothing
has to be remembered for a client that went away. `videos.py` offers it, `surfaces/longtake/videos.py` puts it on the
wire.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from serving.errors import InvalidArgument
from serving.frontdoor.follow.progress import progress_of
from serving.frontdoor.follow.records import Records
from serving.frontdoor.follow.views import LiveProgress, View
from serving.paging import opaque, read_opaque
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.store.base import Store
from serving.store.blobs import Blobs


@dataclass(frozen=True)
class VideoChanged:
    """Its state or progress is another one."""

    cursor: str
    view: View


@dataclass(frozen=True)
class SegmentCommitted:
    """A segment is durable."""

    cursor: str
    digest: str
    manifest: SegmentManifest


@dataclass(frozen=True)
class PreviewFrame:
    """The last frame of a committed segment, or what it is becoming."""

    cursor: str
    segment_index: int
    png: bytes
    draft: bool = False
    """The segment is still being made."""


WatchEvent = VideoChanged | SegmentCommitted | PreviewFrame


@dataclass(frozen=True)
class _Position:
    """What a client has seen of one job."""

    job: str
    segments: int = 0
    version: int = -1
    steps: int = -1
    stage: str = ""

    def token(self) -> str:
        return opaque(f"{self.job}:{self.segments}:{self.version}:{self.steps}:{self.stage}")

    @classmethod
    def parse(cls, token: str, job: str) -> _Position:
        if not token:
            return cls(job)
        try:
            of, segments, version, steps, stage = [job, *read_opaque(token).split(":")][-5:]  # once it named no job
            found = cls(of, int(segments), int(version), int(steps), stage)
        except ValueError as error:
            raise InvalidArgument("cursor", "it is not a cursor of WatchVideo: leave it out to begin anew") from error
        if found.job != job or found.segments < 0:
            raise InvalidArgument("cursor", "it is of a watch of another video: leave it out to begin anew")
        return found

    def at(self, view: View) -> _Position:
        progress = progress_of(view)
        return replace(self, version=view.record.version, steps=progress.steps_done, stage=progress.stage)


def _draft_of(view: View) -> LiveProgress | None:
    """The progress that shows a segment, if that is not made yet."""
    live, made = view.progress, progress_of(view).segments_done
    planned = view.record.plan.segments
    if live is None or not live.preview or made == len(planned) or view.state.terminal:
        return None
    return live if live.segment_index >= planned[made].index else None


async def watch(
    records: Records, store: Store, tenant: str, job: str, *, cursor: str, previews: bool
) -> AsyncGenerator[WatchEvent]:
    """Events from the cursor on, until the job has ended. Raises `NotFound`, and `InvalidArgument` for the
    cursor.
    """
    position = _Position.parse(cursor, job)
    view = await records.lately(tenant, job)
    segments, blobs = Segments(store, tenant), Blobs(store, tenant)
    drafted = ""
    while True:
        for digest in view.record.segments[position.segments :]:
            manifest = await segments.get(digest)
            if previews:
                png = await blobs.get(manifest.thumbnail)
                # Its segment is still to be told: who goes on from here gets both again.
                yield PreviewFrame(position.token(), manifest.depth, png)
            position = replace(position, segments=position.segments + 1)
            yield SegmentCommitted(position.token(), digest, manifest)
        now = position.at(view)
        if now != position:
            position = now
            yield VideoChanged(position.token(), view)
        if previews and (draft := _draft_of(view)) is not None and draft.preview != drafted:
            drafted = draft.preview
            yield PreviewFrame(position.token(), draft.segment_index, await blobs.get(drafted), draft=True)
        if view.record.state.terminal:
            return
        view = await records.after(view)
