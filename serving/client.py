"""A typed client of `longtake.v1`, sync (`Client`) and async (`AsyncClient`). The CLI and the demo use it.

    with Client("127.0.0.1:50051") as client:
        video = client.create(create_request("a red circle moves right over a white background", seconds=4))
        for event in client.watch(video.id):
            ...
        client.download(client.wait(video.id).url, Path("circle.mp4"))

Creates carry a fresh `request_id`, so that a resent one makes nothing twice; a watch that loses its connection goes on
from its cursor. Failures are `grpc.RpcError`; `explain` turns one into a sentence.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import grpc
import grpc.aio

from serving.gen.longtake.v1 import (
    files_pb2,
    files_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    videos_pb2,
    videos_pb2_grpc,
)

if TYPE_CHECKING:
    from serving.gen.longtake.v1.files_pb2_grpc import FilesAsyncStub
    from serving.gen.longtake.v1.models_pb2_grpc import ModelsAsyncStub
    from serving.gen.longtake.v1.videos_pb2_grpc import VideosAsyncStub

DEFAULT_SERVER = "127.0.0.1:50051"
ENDED = frozenset(
    {videos_pb2.Video.SUCCEEDED, videos_pb2.Video.FAILED, videos_pb2.Video.CANCELLED, videos_pb2.Video.EXPIRED}
)
_PIECE = 1 << 20
_RETRY_S = 1.0
_OPTIONS = [("grpc.max_receive_message_length", 20 << 20), ("grpc.max_send_message_length", 20 << 20)]


def create_request(
    prompt: str = "",
    *,
    model: str = "",
    kind: videos_pb2.Video.Kind.ValueType = videos_pb2.Video.KIND_VIDEO,
    seconds: int | None = None,
    aspect_ratio: str = "",
    resolution: str = "",
    codec: str = "",
    seed: int | None = None,
    steps: int | None = None,
    first_frame: videos_pb2.Media | None = None,
    references: Sequence[videos_pb2.Media] = (),
    extends: videos_pb2.Extension | None = None,
    images: int | None = None,
    deadline_s: float | None = None,
    priority: int | None = None,
    ttl_s: float | None = None,
    validate_only: bool = False,
) -> videos_pb2.CreateVideoRequest:
    """A create with a fresh `request_id`. What is left out takes the model's default.

    `deadline_s` and `ttl_s` are seconds from now.
    """
    request = videos_pb2.CreateVideoRequest(
        request_id=secrets.token_hex(16),
        prompt=prompt,
        model=model,
        kind=kind,
        seconds=seconds,
        aspect_ratio=aspect_ratio,
        resolution=resolution,
        codec=codec,
        seed=seed,
        steps=steps,
        first_frame=first_frame,
        references=references,
        extends=extends,
        images=images,
        priority=priority,
        validate_only=validate_only,
    )
    if deadline_s is not None:
        request.deadline.FromMilliseconds(round((time.time() + deadline_s) * 1000))
    if ttl_s is not None:
        request.ttl.FromMilliseconds(round(ttl_s * 1000))
    return request


def explain(error: grpc.RpcError) -> str:
    """One sentence for a failed call."""
    return str(cast(grpc.Call, error).details() or cast(grpc.Call, error).code())


def download(url: str, path: Path) -> int:
    """Save what a returned URL serves, whole or not at all; bytes. Raises `OSError`."""
    partial = path.with_name(path.name + ".part")
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=60) as response, partial.open("wb") as file:  # noqa: S310
            while piece := response.read(_PIECE):
                size += file.write(piece)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return size


def _metadata(api_key: str | None) -> tuple[tuple[str, str | bytes], ...]:
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()


def _upload_parts(path: Path, expire_after_s: int | None) -> Iterator[files_pb2.UploadFileRequest]:
    metadata = files_pb2.UploadFileRequest.Metadata(filename=path.name, expire_after_seconds=expire_after_s)
    yield files_pb2.UploadFileRequest(metadata=metadata)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield files_pb2.UploadFileRequest(data=piece)


class Client:
    """Synchronous; safe for several threads."""

    def __init__(self, server: str = DEFAULT_SERVER, *, api_key: str | None = None, tls: bool = False) -> None:
        self._channel = (
            grpc.secure_channel(server, grpc.ssl_channel_credentials(), _OPTIONS)
            if tls
            else grpc.insecure_channel(server, _OPTIONS)
        )
        self._metadata = _metadata(api_key)
        self._videos = videos_pb2_grpc.VideosStub(self._channel)
        self._files = files_pb2_grpc.FilesStub(self._channel)
        self._models = models_pb2_grpc.ModelsStub(self._channel)
        self._jobs = jobs_pb2_grpc.JobsStub(self._channel)

    def __enter__(self) -> Self:
        """Nothing is opened before the first call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._channel.close()

    def create(self, request: videos_pb2.CreateVideoRequest) -> videos_pb2.Video:
        """Start a job; it is durable when this returns."""
        return self._videos.CreateVideo(request, metadata=self._metadata)

    def get(self, video: str) -> videos_pb2.Video:
        """A video as it stands."""
        return self._videos.GetVideo(videos_pb2.GetVideoRequest(id=video), metadata=self._metadata)

    def list(self, *, limit: int = 20) -> Iterator[videos_pb2.Video]:
        """Videos, newest first."""
        token = ""
        while limit > 0:
            request = videos_pb2.ListVideosRequest(page_size=min(limit, 100), page_token=token)
            page = self._videos.ListVideos(request, metadata=self._metadata)
            yield from page.videos
            limit -= len(page.videos)
            token = page.next_page_token
            if not token:
                return

    def watch(self, video: str, *, cursor: str = "", previews: bool = False) -> Iterator[videos_pb2.WatchVideoResponse]:
        """What happens to a video until it has ended. A lost connection is opened again from the cursor."""
        while True:
            request = videos_pb2.WatchVideoRequest(id=video, cursor=cursor, previews=previews)
            try:
                for event in self._videos.WatchVideo(request, metadata=self._metadata):
                    cursor = event.cursor
                    yield event
                    if event.HasField("video") and event.video.state in ENDED:
                        return
            except grpc.RpcError as error:
                if cast(grpc.Call, error).code() is not grpc.StatusCode.UNAVAILABLE or not cursor:
                    raise
            time.sleep(_RETRY_S)

    def wait(self, video: str) -> videos_pb2.Video:
        """The video when it has ended, well or not."""
        for event in self.watch(video):
            if event.HasField("video") and event.video.state in ENDED:
                return event.video
        return self.get(video)

    def cancel(self, video: str) -> videos_pb2.Video:
        """Stop it within one denoising step."""
        return self._videos.CancelVideo(videos_pb2.CancelVideoRequest(id=video), metadata=self._metadata)

    def delete(self, video: str) -> None:
        """Delete an ended video."""
        self._videos.DeleteVideo(videos_pb2.DeleteVideoRequest(id=video), metadata=self._metadata)

    def lineage(self, video: str) -> videos_pb2.Lineage:
        """The segments from the root to its head."""
        return self._videos.GetLineage(videos_pb2.GetLineageRequest(id=video), metadata=self._metadata)

    def jobs(self, *, dead: bool = False) -> Sequence[jobs_pb2.Job]:
        """What waits and runs, oldest first; or dead letters."""
        return self._jobs.ListJobs(jobs_pb2.ListJobsRequest(dead=dead), metadata=self._metadata).jobs

    def explain(self, video: str) -> jobs_pb2.JobHistory:
        """The life of a job."""
        return self._jobs.ExplainJob(jobs_pb2.ExplainJobRequest(id=video), metadata=self._metadata)

    def requeue(self, video: str) -> videos_pb2.Video:
        """Run a dead letter again, as a new video."""
        return self._jobs.RequeueJob(jobs_pb2.RequeueJobRequest(id=video), metadata=self._metadata)

    def models(self) -> Sequence[models_pb2.Model]:
        """What the server can make."""
        return self._models.ListModels(models_pb2.ListModelsRequest(), metadata=self._metadata).models

    def upload(self, path: Path, *, expire_after_s: int | None = None) -> files_pb2.File:
        """Keep a picture or video for later requests."""
        return self._files.UploadFile(_upload_parts(path, expire_after_s), metadata=self._metadata)

    def media(self, source: str) -> videos_pb2.Media:
        """A URL or a file id as it is; anything else is a local file, which is uploaded."""
        if source.startswith(("http://", "https://", "data:")):
            return videos_pb2.Media(url=source)
        if source.startswith("file_") and not Path(source).exists():
            return videos_pb2.Media(file_id=source)
        return videos_pb2.Media(file_id=self.upload(Path(source)).id)


class AsyncClient:
    """The same on grpc.aio; use it with `async with`."""

    def __init__(self, server: str = DEFAULT_SERVER, *, api_key: str | None = None, tls: bool = False) -> None:
        options: Any = _OPTIONS
        self._channel = (
            grpc.aio.secure_channel(server, grpc.ssl_channel_credentials(), options)
            if tls
            else grpc.aio.insecure_channel(server, options)
        )
        self._metadata = _metadata(api_key)
        self._videos: VideosAsyncStub = videos_pb2_grpc.VideosStub(self._channel)
        self._files: FilesAsyncStub = files_pb2_grpc.FilesStub(self._channel)
        self._models: ModelsAsyncStub = models_pb2_grpc.ModelsStub(self._channel)

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._channel.close()

    async def create(self, request: videos_pb2.CreateVideoRequest) -> videos_pb2.Video:
        """Start a job; it is durable when this returns."""
        return await self._videos.CreateVideo(request, metadata=self._metadata)

    async def get(self, video: str) -> videos_pb2.Video:
        """A video as it stands."""
        return await self._videos.GetVideo(videos_pb2.GetVideoRequest(id=video), metadata=self._metadata)

    async def watch(
        self, video: str, *, cursor: str = "", previews: bool = False
    ) -> AsyncIterator[videos_pb2.WatchVideoResponse]:
        """What happens to a video until it has ended. A lost connection is opened again from the cursor."""
        import asyncio

        while True:
            request = videos_pb2.WatchVideoRequest(id=video, cursor=cursor, previews=previews)
            try:
                async for event in self._videos.WatchVideo(request, metadata=self._metadata):
                    cursor = event.cursor
                    yield event
                    if event.HasField("video") and event.video.state in ENDED:
                        return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or not cursor:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def wait(self, video: str) -> videos_pb2.Video:
        """The video when it has ended, well or not."""
        async with contextlib.aclosing(cast(Any, self.watch(video))) as events:
            async for event in events:
                if event.HasField("video") and event.video.state in ENDED:
                    return cast(videos_pb2.Video, event.video)
        return await self.get(video)

    async def cancel(self, video: str) -> videos_pb2.Video:
        """Stop it within one denoising step."""
        return await self._videos.CancelVideo(videos_pb2.CancelVideoRequest(id=video), metadata=self._metadata)

    async def lineage(self, video: str) -> videos_pb2.Lineage:
        """The segments from the root to its head."""
        return await self._videos.GetLineage(videos_pb2.GetLineageRequest(id=video), metadata=self._metadata)

    async def models(self) -> Sequence[models_pb2.Model]:
        """What the server can make."""
        return (await self._models.ListModels(models_pb2.ListModelsRequest(), metadata=self._metadata)).models

    async def upload(self, path: Path, *, expire_after_s: int | None = None) -> files_pb2.File:
        """Keep a picture or video for later requests."""
        return await self._files.UploadFile(_upload_parts(path, expire_after_s), metadata=self._metadata)
