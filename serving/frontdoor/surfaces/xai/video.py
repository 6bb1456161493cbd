"""`xai_api.Video` onto Longtake's videos. `register.py` registers it.

A request id on this wire is a Longtake video id. Polls are the hot path: an answer is serialised once per change of the
job and minute of its URL, and handed out from memory.
"""

# ruff: noqa: N802

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from serving.errors import InvalidArgument, NotFound
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.create import Creator
from serving.frontdoor.create.drafts import Draft, ExtensionDraft
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.edge.timestamps import fitting
from serving.frontdoor.follow.progress import progress_of
from serving.frontdoor.follow.views import View
from serving.frontdoor.surfaces.xai.keep import Keeper, read_options
from serving.frontdoor.surfaces.xai.words import film, no_usage, picture, pictures, video_aspect, video_resolution
from serving.frontdoor.videos import Videos
from serving.gen.xai.api.v1 import deferred_pb2, video_pb2
from serving.jobs.record import JobRecord, JobState
from serving.requests import Kind

SURFACE = "xai"
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "seconds": "duration",
        "first_frame": "image",
        "references": "reference_images",
        "extends": "video",
        "request_id": "idempotency-key",
    }
)


@dataclass(frozen=True)
class XaiVideo:
    """The service."""

    creator: Creator
    videos: Videos
    keeper: Keeper
    signer: UrlSigner
    now_ms: Callable[[], int]

    async def GenerateVideo(
        self, request: video_pb2.GenerateVideoRequest, call: Call
    ) -> deferred_pb2.StartDeferredResponse:
        """Start a video from text, a first frame, references, or several of them."""
        _refuse_what_no_model_has(request)
        draft = Draft(
            kind=Kind.VIDEO,
            model=request.model,
            prompt=request.prompt,
            seconds=request.duration if request.HasField("duration") else None,
            aspect_ratio=video_aspect(request),
            resolution=video_resolution(request),
            first_frame=picture("image", request.image) if request.HasField("image") else None,
            references=pictures("reference_images", request.reference_images),
            request_id=call.idempotency_key,
            traceparent=call.traceparent,
            names=NAMES,
        )
        return await self._start(draft, request, call)

    async def ExtendVideo(
        self, request: video_pb2.ExtendVideoRequest, call: Call
    ) -> deferred_pb2.StartDeferredResponse:
        """Start an extension of a video: by a URL that we returned, by file id, or of a foreign MP4."""
        draft = Draft(
            kind=Kind.VIDEO,
            model=request.model,
            prompt=request.prompt,
            seconds=request.duration if request.HasField("duration") else None,
            extends=ExtensionDraft(media=film("video", request.video)),
            request_id=call.idempotency_key,
            traceparent=call.traceparent,
            names=NAMES,
        )
        return await self._start(draft, request, call)

    async def _start(
        self, draft: Draft, request: video_pb2.GenerateVideoRequest | video_pb2.ExtendVideoRequest, call: Call
    ) -> deferred_pb2.StartDeferredResponse:
        keep = read_options(request.storage_options) if request.HasField("storage_options") else None
        record = (await self.creator.create(call.caller, draft, resent=call.resent)).record
        if keep is not None:
            await self.keeper.note(record, keep)
        return deferred_pb2.StartDeferredResponse(request_id=record.id)

    async def GetDeferredVideo(self, request: video_pb2.GetDeferredVideoRequest, call: Call) -> bytes:
        """How a video stands; its URL when it is done."""
        return await self.videos.poll(call.caller, request.request_id, SURFACE, self._answer)

    async def _answer(self, view: View) -> video_pb2.GetDeferredVideoResponse:
        record = view.record
        if record.request.kind is not Kind.VIDEO:
            raise NotFound(f"{record.id} made images, not a video", reason="VIDEO_NOT_FOUND")
        response = video_pb2.VideoResponse(
            model=record.request.model, usage=no_usage(), progress=progress_of(view).percent
        )
        match record.state:
            case JobState.SUCCEEDED:
                response.video.CopyFrom(await self._finished(record))
                status = deferred_pb2.DONE
            case JobState.FAILED | JobState.CANCELLED | JobState.EXPIRED:
                response.error.CopyFrom(_error(record))
                response.progress = 0
                status = deferred_pb2.FAILED
            case _:
                status = deferred_pb2.PENDING
        return video_pb2.GetDeferredVideoResponse(status=status, response=response)

    async def _finished(self, record: JobRecord) -> video_pb2.GeneratedVideo:
        kept = await self.keeper.keep_video(record)
        return fitting(
            video_pb2.GeneratedVideo,
            url=self.signer.video_url(record.tenant, record.id, self.now_ms()).url,
            duration=record.request.seconds,
            # An unset flag reads as a withheld video in the public client.
            respect_moderation=True,
            file_output=kept.file_output,
            storage_error=kept.storage_error,
        )


_OTHER = "internal_error"
_CODES: Mapping[str, str] = MappingProxyType(
    {
        "INVALID_ARGUMENT": "invalid_argument",
        "QUARANTINED": "invalid_argument",
        "PERMISSION_DENIED": "permission_denied",
        "FAILED_PRECONDITION": "failed_precondition",
        "DEADLINE_EXCEEDED": "failed_precondition",
        "NOT_FOUND": "failed_precondition",
        "MEDIA_NOT_FOUND": "failed_precondition",
        "FILE_NOT_FOUND": "failed_precondition",
        "VIDEO_NOT_FOUND": "failed_precondition",
        "VIDEO_NOT_FINISHED": "failed_precondition",
        "MODEL_CHANGED": "failed_precondition",
        "MODEL_UNKNOWN": "failed_precondition",
    }
)
"""Why a job failed, in this wire's words: it has these three and `internal_error`, which is all else."""


def _error(record: JobRecord) -> video_pb2.VideoError:
    if record.state is JobState.CANCELLED:
        message = "the video was cancelled before it was finished"
        return video_pb2.VideoError(code="failed_precondition", message=message)
    if record.error is None:
        return video_pb2.VideoError(code=_OTHER, message="the video failed and left no reason")
    return video_pb2.VideoError(code=_CODES.get(record.error.code, _OTHER), message=record.error.message)


def _refuse_what_no_model_has(request: video_pb2.GenerateVideoRequest) -> None:
    """Raises `InvalidArgument`. An explicit false, or nothing, is fine."""
    if request.generate_audio:
        raise InvalidArgument("generate_audio", "videos here are silent: leave it out or set it to false")
    if request.keyframes:
        raise InvalidArgument("keyframes", "no frame inside a video can be given: give the first one as `image`")
    if request.HasField("last_frame"):
        raise InvalidArgument("last_frame", "the last frame cannot be given: give the first one as `image`")
    if request.reference_audios:
        raise InvalidArgument("reference_audios", "videos here are silent: leave voices out")
    if request.HasField("video"):
        raise InvalidArgument(
            "video",
            "videos are not edited: extend one by Video/ExtendVideo, or give pictures as `reference_images`",
        )
