"""Records into messages of `longtake.v1`: videos. `videos.py` and `jobs.py` answer with them."""

from __future__ import annotations

from collections.abc import Callable

from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.edge.timestamps import fitting, timestamp
from serving.frontdoor.follow.progress import progress_of
from serving.frontdoor.follow.views import View
from serving.gen.longtake.v1 import videos_pb2
from serving.jobs.record import JobRecord, JobState
from serving.jobs.traced import trace_id_of
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.store.base import Store

_STATES = {
    JobState.QUEUED: videos_pb2.Video.QUEUED,
    JobState.RUNNING: videos_pb2.Video.RUNNING,
    JobState.SUCCEEDED: videos_pb2.Video.SUCCEEDED,
    JobState.FAILED: videos_pb2.Video.FAILED,
    JobState.CANCELLED: videos_pb2.Video.CANCELLED,
    JobState.EXPIRED: videos_pb2.Video.EXPIRED,
}
_KINDS = {Kind.VIDEO: videos_pb2.Video.KIND_VIDEO, Kind.IMAGE: videos_pb2.Video.KIND_IMAGE}


class VideoMessages:
    """Makes `longtake.v1.Video` of what is known of a job."""

    def __init__(self, catalog: Catalog, signer: UrlSigner, store: Store, now_ms: Callable[[], int]) -> None:
        self._catalog = catalog
        self._signer = signer
        self._store = store
        self._now_ms = now_ms

    async def of(self, view: View) -> videos_pb2.Video:
        """The whole resource. The store is read only for a video that goes on from a foreign one."""
        return self._video(view, self._now_ms(), frames=await self._frames(view.record))

    async def _frames(self, record: JobRecord) -> int:
        """Frames of the whole video when it is finished; 0 for images."""
        if record.request.kind is Kind.IMAGE:
            return 0
        ingested = 0
        if record.request.ingests and record.segments:
            ingested = (await Segments(self._store, record.tenant).get(record.segments[0])).frames
        return record.plan.start_frame + ingested + record.plan.frames

    def _video(self, view: View, now_ms: int, *, frames: int) -> videos_pb2.Video:
        """`now_ms` decides when its URLs expire; `frames` counts the whole video."""
        record = view.record
        request, plan = record.request, record.plan
        width, height = self._size(record)
        message = fitting(
            videos_pb2.Video,
            id=record.id,
            kind=_KINDS[request.kind],
            state=_STATES[record.state],
            model=request.model,
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            effective_prompt=record.effective_prompt,
            effective_references=record.effective_references,
            warnings=record.warnings,
            create_time=timestamp(record.created_ms),
            progress=_progress(view),
            seconds=request.seconds,
            aspect_ratio=request.aspect_ratio,
            resolution=request.resolution,
            width=width,
            height=height,
            seed=plan.seed,
            steps=plan.steps,
            segments=record.segments,
            parent_video_id=request.extends.video if request.extends else "",
            version=record.version,
            priority=record.priority,
            attempt=record.attempt,
            trace_id=trace_id_of(record),
            steps_reused=record.steps_reused,
        )
        message.plan.CopyFrom(_plan(record))
        if request.kind is Kind.VIDEO:
            message.MergeFrom(fitting(videos_pb2.Video, fps=plan.track.fps, codec=plan.track.codec, frames=frames))
        if record.started_ms is not None:
            message.start_time.CopyFrom(timestamp(record.started_ms))
        if record.finished_ms is not None:
            message.end_time.CopyFrom(timestamp(record.finished_ms))
        if record.deadline_ms is not None:
            message.deadline.CopyFrom(timestamp(record.deadline_ms))
        if record.expires_ms is not None:
            message.expire_time.CopyFrom(timestamp(record.expires_ms))
        if record.error is not None:
            message.error.code, message.error.message = record.error.code, record.error.message
        self._add_urls(message, record, now_ms)
        return message

    def _size(self, record: JobRecord) -> tuple[int, int]:
        plan = record.plan
        if record.request.kind is Kind.VIDEO:
            return plan.track.width, plan.track.height
        model = self._catalog.models.get(record.request.model)
        longest = model.capabilities.image_resolutions.get(record.request.resolution) if model else None
        times = max(1, (longest or 0) // max(plan.width, plan.height))
        return plan.width * times, plan.height * times

    def _add_urls(self, message: videos_pb2.Video, record: JobRecord, now_ms: int) -> None:
        if record.segments:
            message.thumbnail_url = self._signer.thumbnail_url(record.tenant, record.id, now_ms).url
        if record.state is not JobState.SUCCEEDED:
            return
        images = [
            self._signer.image_url(record.tenant, record.id, number, now_ms) for number in range(len(record.images))
        ]
        main = images[0] if images else self._signer.video_url(record.tenant, record.id, now_ms)
        message.image_urls.extend(image.url for image in images)
        message.url = main.url
        message.url_expire_time.CopyFrom(timestamp(main.expires_ms))


def _plan(record: JobRecord) -> videos_pb2.Plan:
    plan = record.plan
    message = fitting(
        videos_pb2.Plan,
        segments=len(plan.segments),
        frames=plan.frames,
        native_width=plan.width,
        native_height=plan.height,
        steps=plan.total_steps,
        step_cache=plan.step_cache,
    )
    if record.predicted is not None:
        message.engine_seconds.update(record.predicted.seconds)
        message.predicted_start_time.CopyFrom(timestamp(record.predicted.start_ms))
        message.predicted_end_time.CopyFrom(timestamp(record.predicted.end_ms))
    return message


def _progress(view: View) -> videos_pb2.Progress:
    progress = progress_of(view)
    return fitting(
        videos_pb2.Progress,
        stage=progress.stage,
        steps_done=progress.steps_done,
        steps_total=progress.steps_total,
        segments_done=progress.segments_done,
        segments_total=progress.segments_total,
        percent=progress.percent,
    )
