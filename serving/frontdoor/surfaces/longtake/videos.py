"""`longtake.v1` on the wire: Videos, Files, Models. Translates messages; everything else is in `videos.py`
and `files.py`.

`server.py` registers the three services. Method names are the protos', hence their capitals.
"""

# ruff: noqa: ARG002, N802  (the wire decides names and arguments)

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from serving.errors import InvalidArgument
from serving.files.repository import Files
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.create.drafts import Draft, ExtensionDraft, MediaDraft
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.follow.records import View
from serving.frontdoor.follow.watch import Event, PreviewFrame, SegmentCommitted
from serving.frontdoor.surfaces.longtake.messages import VideoMessages, file_message, model_message, segment_message
from serving.frontdoor.videos import Videos
from serving.gen.longtake.v1 import files_pb2, models_pb2, videos_pb2
from serving.paging import page_size
from serving.requests import Kind

SURFACE = "longtake.v1"
_KINDS = {
    videos_pb2.Video.KIND_UNSPECIFIED: Kind.VIDEO,
    videos_pb2.Video.KIND_VIDEO: Kind.VIDEO,
    videos_pb2.Video.KIND_IMAGE: Kind.IMAGE,
}


@dataclass(frozen=True)
class VideosService:
    """`longtake.v1.Videos`."""

    videos: Videos
    messages: VideoMessages
    now_ms: Callable[[], int]

    async def CreateVideo(self, request: videos_pb2.CreateVideoRequest, call: Call) -> videos_pb2.Video:
        """Accept a job and return it as it stands."""
        draft = draft_of(request, idempotency_key=call.idempotency_key)
        if request.validate_only:
            return await self.message(await self.videos.planned(call.caller, draft))
        record = await self.videos.create(call.caller, draft, resent=call.resent)
        return await self.message(await self.videos.view(call.caller, record.id))

    async def GetVideo(self, request: videos_pb2.GetVideoRequest, call: Call) -> bytes:
        """A poll: serialised once per change and minute, for URLs in it stay the same for a minute."""
        view = await self.videos.view(call.caller, request.id)
        minute = self.now_ms() // 60_000
        known = view.rendered.get(SURFACE)
        if known is not None and known[0] == minute:
            return known[1]
        rendered = (await self.message(view)).SerializeToString()
        view.rendered[SURFACE] = (minute, rendered)
        return rendered

    async def ListVideos(self, request: videos_pb2.ListVideosRequest, call: Call) -> videos_pb2.ListVideosResponse:
        """Newest first."""
        size = page_size(request.page_size)
        views, token = await self.videos.page(call.caller, size=size, token=request.page_token)
        found = [await self.message(view) for view in views]
        return videos_pb2.ListVideosResponse(videos=found, next_page_token=token)

    async def WatchVideo(
        self, request: videos_pb2.WatchVideoRequest, call: Call
    ) -> AsyncGenerator[videos_pb2.WatchVideoResponse]:
        """Everything from the cursor on, until the video has ended."""
        events = self.videos.watch(call.caller, request.id, cursor=request.cursor, previews=request.previews)
        async with aclosing(events):
            async for event in events:
                yield await self._event(event)

    async def _event(self, event: Event) -> videos_pb2.WatchVideoResponse:
        if isinstance(event, SegmentCommitted):
            segment = segment_message(event.digest, event.manifest)
            return videos_pb2.WatchVideoResponse(cursor=event.cursor, segment=segment)
        if isinstance(event, PreviewFrame):
            preview = videos_pb2.Preview(segment_index=event.segment_index, png=event.png)
            return videos_pb2.WatchVideoResponse(cursor=event.cursor, preview=preview)
        video = await self.message(event.view)
        return videos_pb2.WatchVideoResponse(cursor=event.cursor, video=video)

    async def CancelVideo(self, request: videos_pb2.CancelVideoRequest, call: Call) -> videos_pb2.Video:
        """Ask for it; the answer may still say RUNNING."""
        return await self.message(await self.videos.cancel(call.caller, request.id))

    async def DeleteVideo(self, request: videos_pb2.DeleteVideoRequest, call: Call) -> videos_pb2.DeleteVideoResponse:
        """Delete a video that has ended."""
        await self.videos.delete(call.caller, request.id)
        return videos_pb2.DeleteVideoResponse()

    async def GetLineage(self, request: videos_pb2.GetLineageRequest, call: Call) -> videos_pb2.Lineage:
        """Root first."""
        manifests = await self.videos.lineage(call.caller, request.id)
        lineage = videos_pb2.Lineage(segments=[segment_message(m.digest(), m) for m in manifests])
        if manifests:
            head = manifests[-1]
            length = Duration()
            length.FromMilliseconds(head.total_frames * 1000 // head.track.fps)
            lineage.duration.CopyFrom(length)
        return lineage

    async def message(self, view: View) -> videos_pb2.Video:
        """The resource, complete."""
        return self.messages.video(view, self.now_ms(), frames=await self.videos.frames(view))


def draft_of(request: videos_pb2.CreateVideoRequest, *, idempotency_key: str) -> Draft:
    """The message as a draft. Raises `InvalidArgument` for what contradicts itself."""
    if request.request_id and idempotency_key and request.request_id != idempotency_key:
        raise InvalidArgument("request_id", "it differs from the `idempotency-key` header: send one of them")
    if request.kind not in _KINDS:
        raise InvalidArgument("kind", f"{request.kind} is unknown: KIND_VIDEO and KIND_IMAGE are supported")
    references = enumerate(request.references)
    return Draft(
        kind=_KINDS[request.kind],
        model=request.model,
        prompt=request.prompt,
        seconds=request.seconds if request.HasField("seconds") else None,
        aspect_ratio=request.aspect_ratio,
        resolution=request.resolution,
        codec=request.codec,
        seed=request.seed if request.HasField("seed") else None,
        steps=request.steps if request.HasField("steps") else None,
        first_frame=_media(request.first_frame, "first_frame") if request.HasField("first_frame") else None,
        references=tuple(_media(media, f"references[{place}]") for place, media in references),
        extends=_extension(request.extends) if request.HasField("extends") else None,
        images=request.images if request.HasField("images") else None,
        deadline_ms=request.deadline.ToMilliseconds() if request.HasField("deadline") else None,
        priority=request.priority if request.HasField("priority") else None,
        ttl_ms=request.ttl.ToMilliseconds() if request.HasField("ttl") else None,
        request_id=request.request_id or idempotency_key,
    )


def _media(media: videos_pb2.Media, field: str) -> MediaDraft:
    if not media.url and not media.file_id:
        raise InvalidArgument(field, "it names nothing: give `url` or `file_id`")
    return MediaDraft(field, url=media.url, file_id=media.file_id)


def _extension(extends: videos_pb2.Extension) -> ExtensionDraft:
    if extends.HasField("media"):
        return ExtensionDraft(media=_media(extends.media, "extends.media"), segment=extends.segment)
    if not extends.video_id:
        raise InvalidArgument("extends", "it names no video: give `video_id` or `media`")
    return ExtensionDraft(video_id=extends.video_id, segment=extends.segment)


@dataclass(frozen=True)
class FilesService:
    """`longtake.v1.Files`."""

    files: Files

    async def UploadFile(self, request: AsyncIterator[files_pb2.UploadFileRequest], call: Call) -> files_pb2.File:
        """First the metadata, then the bytes."""
        first = await anext(request, None)
        if first is None or not first.HasField("metadata"):
            raise InvalidArgument("metadata", "the first message of an upload carries the metadata")
        metadata = first.metadata
        expires = metadata.expire_after_seconds if metadata.HasField("expire_after_seconds") else None
        record = await self.files.upload(
            call.caller.tenant, metadata.filename, _pieces(request), expires_after_s=expires
        )
        return file_message(record)

    async def GetFile(self, request: files_pb2.GetFileRequest, call: Call) -> files_pb2.File:
        """What is known of a file."""
        return file_message(await self.files.get(call.caller.tenant, request.id))

    async def ListFiles(self, request: files_pb2.ListFilesRequest, call: Call) -> files_pb2.ListFilesResponse:
        """Newest first."""
        size = page_size(request.page_size)
        records, token = await self.files.page(call.caller.tenant, size=size, token=request.page_token)
        return files_pb2.ListFilesResponse(files=map(file_message, records), next_page_token=token)

    async def DownloadFile(
        self, request: files_pb2.DownloadFileRequest, call: Call
    ) -> AsyncGenerator[files_pb2.DownloadFileResponse]:
        """A file's bytes in pieces."""
        record = await self.files.get(call.caller.tenant, request.id)
        async for piece in self.files.content(record):
            yield files_pb2.DownloadFileResponse(data=piece)

    async def DeleteFile(self, request: files_pb2.DeleteFileRequest, call: Call) -> files_pb2.DeleteFileResponse:
        """Delete a file; videos that were made from it stay whole."""
        await self.files.delete(call.caller.tenant, request.id)
        return files_pb2.DeleteFileResponse()


async def _pieces(requests: AsyncIterator[files_pb2.UploadFileRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.HasField("metadata"):
            raise InvalidArgument("metadata", "it comes once, in the first message of an upload")
        yield request.data


@dataclass(frozen=True)
class ModelsService:
    """`longtake.v1.Models`."""

    catalog: Catalog

    async def ListModels(self, request: models_pb2.ListModelsRequest, call: Call) -> models_pb2.ListModelsResponse:
        """All models."""
        default = self.catalog.default
        models = [model_message(model, default=model is default) for model in self.catalog.models.values()]
        return models_pb2.ListModelsResponse(models=models)

    async def GetModel(self, request: models_pb2.GetModelRequest, call: Call) -> models_pb2.Model:
        """One model, by name or alias."""
        model = self.catalog.resolve(request.name)
        return model_message(model, default=model is self.catalog.default)
