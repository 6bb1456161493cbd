"""`longtake.v1.Videos` on the wire. Translates messages; everything else is in `create/` and `frontdoor/videos.py`.

`register.py` registers it. Method names are the protos', hence their capitals.
"""

# ruff: noqa: N802  (the wire decides names)

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from serving.errors import InvalidArgument
from serving.frontdoor.create.create import Creator
from serving.frontdoor.create.drafts import Draft, ExtensionDraft, MediaDraft, check_count
from serving.frontdoor.edge.lists import told
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.edge.timestamps import length_ms, moment_ms
from serving.frontdoor.follow.watch import PreviewFrame, SegmentCommitted, WatchEvent
from serving.frontdoor.surfaces.longtake.messages import VideoMessages
from serving.frontdoor.surfaces.longtake.segments import lineage_message, segment_message
from serving.frontdoor.videos import Videos
from serving.gen.longtake.v1 import videos_pb2
from serving.paging import page_size
from serving.requests import Kind
from serving.segments.path import PathSegment

SURFACE = "longtake.v1"
LINEAGE_PAGE = 1000
"""Segments of a page of a lineage, at most."""
UNPAGED_LINEAGE = 3600
"""Segments for who does not ask for pages: as many as an hour has."""
HISTORY_PAGE = 100
"""The same where it is told what each was shown: each is a read."""
_KINDS = {
    videos_pb2.Video.KIND_UNSPECIFIED: Kind.VIDEO,
    videos_pb2.Video.KIND_VIDEO: Kind.VIDEO,
    videos_pb2.Video.KIND_IMAGE: Kind.IMAGE,
}


@dataclass(frozen=True)
class VideosService:
    """`longtake.v1.Videos`."""

    creator: Creator
    videos: Videos
    messages: VideoMessages

    async def CreateVideo(self, request: videos_pb2.CreateVideoRequest, call: Call) -> videos_pb2.Video:
        """Accept a job and return it as it stands."""
        draft = draft_of(request, idempotency_key=call.idempotency_key, traceparent=call.traceparent)
        if request.validate_only:
            return await self.messages.of(await self.creator.planned(call.caller, draft))
        return await self.messages.of(await self.creator.create(call.caller, draft, resent=call.resent))

    async def GetVideo(self, request: videos_pb2.GetVideoRequest, call: Call) -> bytes:
        """A poll."""
        return await self.videos.poll(call.caller, request.id, SURFACE, self.messages.of)

    async def ListVideos(self, request: videos_pb2.ListVideosRequest, call: Call) -> videos_pb2.ListVideosResponse:
        """Newest first."""
        size = page_size(request.page_size)
        views, token = await self.videos.page(call.caller, size=size, token=request.page_token)
        found = await told(views, self.messages.of, lambda view: view.kept.key[1])
        return videos_pb2.ListVideosResponse(videos=found, next_page_token=token)

    async def WatchVideo(
        self, request: videos_pb2.WatchVideoRequest, call: Call
    ) -> AsyncGenerator[videos_pb2.WatchVideoResponse]:
        """Everything from the cursor on, until the video has ended."""
        events = self.videos.watch(call.caller, request.id, cursor=request.cursor, previews=request.previews)
        async with aclosing(events):
            async for event in events:
                yield await self._event(event)

    async def _event(self, event: WatchEvent) -> videos_pb2.WatchVideoResponse:
        if isinstance(event, SegmentCommitted):
            segment = segment_message(PathSegment.of(event.digest, event.manifest))
            return videos_pb2.WatchVideoResponse(cursor=event.cursor, segment=segment)
        if isinstance(event, PreviewFrame):
            preview = videos_pb2.Preview(segment_index=event.segment_index, png=event.png, draft=event.draft)
            return videos_pb2.WatchVideoResponse(cursor=event.cursor, preview=preview)
        video = videos_pb2.Video.FromString(await self.videos.answer(event.view, SURFACE, self.messages.of))
        return videos_pb2.WatchVideoResponse(cursor=event.cursor, video=video)

    async def CancelVideo(self, request: videos_pb2.CancelVideoRequest, call: Call) -> videos_pb2.Video:
        """Ask for it; the answer may still say RUNNING."""
        return await self.messages.of(await self.videos.cancel(call.caller, request.id))

    async def DeleteVideo(self, request: videos_pb2.DeleteVideoRequest, call: Call) -> videos_pb2.DeleteVideoResponse:
        """Delete a video that has ended."""
        await self.videos.delete(call.caller, request.id)
        return videos_pb2.DeleteVideoResponse()

    async def GetLineage(self, request: videos_pb2.GetLineageRequest, call: Call) -> videos_pb2.Lineage:
        """Root first, page by page."""
        histories = request.view == videos_pb2.LINEAGE_VIEW_HISTORY
        most, unset = (HISTORY_PAGE, HISTORY_PAGE) if histories else (LINEAGE_PAGE, UNPAGED_LINEAGE)
        if request.skip < 0:
            raise InvalidArgument("skip", "it cannot be negative: say how many segments to leave out before the page")
        found = await self.videos.lineage(
            call.caller,
            request.id,
            size=page_size(request.page_size, most=most, unset=unset),
            token=request.page_token,
            skip=request.skip,
            histories=histories,
        )
        return lineage_message(found)


def draft_of(request: videos_pb2.CreateVideoRequest, *, idempotency_key: str, traceparent: str = "") -> Draft:
    """The message as a draft. Raises `InvalidArgument` for what contradicts itself."""
    if request.request_id and idempotency_key and request.request_id != idempotency_key:
        raise InvalidArgument("request_id", "it differs from the `idempotency-key` header: send one of them")
    check_count("references", len(request.references))
    references = enumerate(request.references)
    return Draft(
        kind=_KINDS[request.kind],
        model=request.model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
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
        deadline_ms=moment_ms(request.deadline, "deadline") if request.HasField("deadline") else None,
        priority=request.priority if request.HasField("priority") else None,
        ttl_ms=length_ms(request.ttl, "ttl") if request.HasField("ttl") else None,
        request_id=request.request_id or idempotency_key,
        traceparent=traceparent,
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
