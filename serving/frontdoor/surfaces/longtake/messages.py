"""Records into messages of `longtake.v1`. Pure; The services beside it use it."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from engines.families.base import Capabilities, Range
from serving.files.record import FileRecord
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.catalog import Catalog, Model
from serving.frontdoor.follow.progress import progress_of
from serving.frontdoor.follow.records import View
from serving.gen.longtake.v1 import files_pb2, models_pb2, videos_pb2
from serving.jobs.record import JobRecord, JobState
from serving.requests import Codec, Kind
from serving.segments.manifest import SegmentManifest

_STATES = {
    JobState.QUEUED: videos_pb2.Video.QUEUED,
    JobState.RUNNING: videos_pb2.Video.RUNNING,
    JobState.SUCCEEDED: videos_pb2.Video.SUCCEEDED,
    JobState.FAILED: videos_pb2.Video.FAILED,
    JobState.CANCELLED: videos_pb2.Video.CANCELLED,
    JobState.EXPIRED: videos_pb2.Video.EXPIRED,
}
_KINDS = {Kind.VIDEO: videos_pb2.Video.KIND_VIDEO, Kind.IMAGE: videos_pb2.Video.KIND_IMAGE}


def timestamp(moment_ms: int) -> Timestamp:
    """Milliseconds since 1970 as a Timestamp."""
    return Timestamp(seconds=moment_ms // 1000, nanos=moment_ms % 1000 * 1_000_000)


class VideoMessages:
    """Makes `longtake.v1.Video` of what is known of a job."""

    def __init__(self, catalog: Catalog, signer: UrlSigner) -> None:
        self._catalog = catalog
        self._signer = signer

    def video(self, view: View, now_ms: int, *, frames: int) -> videos_pb2.Video:
        """The whole resource. `now_ms` decides when its URLs expire; `frames` counts the whole video."""
        record = view.record
        request, plan = record.request, record.plan
        width, height = self._size(record)
        message = videos_pb2.Video(
            id=record.id,
            kind=_KINDS[request.kind],
            state=_STATES[record.state],
            model=request.model,
            prompt=request.prompt,
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
        )
        message.plan.CopyFrom(_plan(record))
        if request.kind is Kind.VIDEO:
            message.fps = plan.track.fps
            message.codec = plan.track.codec
            message.frames = frames
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
    message = videos_pb2.Plan(
        segments=len(plan.segments),
        frames=plan.frames,
        native_width=plan.width,
        native_height=plan.height,
        steps=plan.total_steps,
    )
    if record.predicted is not None:
        message.engine_seconds.update(record.predicted.seconds)
        message.predicted_start_time.CopyFrom(timestamp(record.predicted.start_ms))
        message.predicted_end_time.CopyFrom(timestamp(record.predicted.end_ms))
    return message


def _progress(view: View) -> videos_pb2.Progress:
    progress = progress_of(view)
    return videos_pb2.Progress(
        stage=progress.stage,
        steps_done=progress.steps_done,
        steps_total=progress.steps_total,
        segments_done=progress.segments_done,
        segments_total=progress.segments_total,
        percent=progress.percent,
    )


def segment_message(digest: str, manifest: SegmentManifest) -> videos_pb2.Segment:
    """One committed segment."""
    return videos_pb2.Segment(
        digest=digest,
        index=manifest.depth,
        frames=manifest.frames,
        start_frame=manifest.start_frame,
        parent=manifest.parent or "",
        video_id=manifest.video,
        effective_prompt=manifest.effective_prompt,
        ingested=manifest.kind == "ingested",
        media_bytes=manifest.parts[-1].size,
    )


def file_message(record: FileRecord) -> files_pb2.File:
    """One file."""
    message = files_pb2.File(
        id=record.id,
        filename=record.filename,
        size_bytes=record.size,
        content_type=record.content_type,
        sha256=record.sha256 or "",
        create_time=timestamp(record.created_ms),
    )
    if record.expires_ms is not None:
        message.expire_time.CopyFrom(timestamp(record.expires_ms))
    return message


def model_message(model: Model, *, default: bool) -> models_pb2.Model:
    """What a model can do."""
    can = model.capabilities
    height, width = can.reference_size
    return models_pb2.Model(
        name=can.model,
        aliases=can.aliases,
        family=can.family,
        description=can.description,
        text_to_video=can.text,
        first_frame=can.first_frame,
        references_max=can.references_max,
        extension=can.extension,
        image=can.image,
        video_sizes=_video_sizes(can),
        image_sizes=_image_sizes(can),
        seconds=_bounds(can.seconds),
        extension_seconds=_bounds(can.extension_seconds),
        steps=_bounds(can.steps),
        fps=can.fps,
        max_prompt_chars=can.max_prompt_chars,
        reference_width=width,
        reference_height=height,
        codecs=[codec.value for codec in Codec],
        digest=model.digest,
        default=default,
    )


def _bounds(bounds: Range) -> models_pb2.Bounds:
    return models_pb2.Bounds(min=bounds.min, max=bounds.max, default=bounds.default)


def _video_sizes(can: Capabilities) -> list[models_pb2.Size]:
    return [
        models_pb2.Size(
            aspect_ratio=canvas.aspect_ratio,
            resolution=name,
            width=canvas.width * times,
            height=canvas.height * times,
        )
        for canvas in can.canvases
        for name, times in can.resolutions.items()
    ]


def _image_sizes(can: Capabilities) -> list[models_pb2.Size]:
    sizes = []
    for canvas in can.canvases:
        for name, longest in can.image_resolutions.items():
            times = max(1, longest // max(canvas.width, canvas.height))
            sizes.append(
                models_pb2.Size(
                    aspect_ratio=canvas.aspect_ratio,
                    resolution=name,
                    width=canvas.width * times,
                    height=canvas.height * times,
                )
            )
    return sizes
