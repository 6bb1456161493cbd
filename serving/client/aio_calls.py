"""How `AsyncClient` sends what it says: one channel, resends, streams, downloads over HTTP. Twin: `sync_calls.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from serving.client.attempts import ENDED, Attempts, Following
from serving.client.calls import UPLOAD, Call, get
from serving.client.errors import CallFailed, DeadlineExceeded, DownloadFailed, WaitTimeout, failure_of
from serving.client.options import Options
from serving.client.requests import UploadParts
from serving.client.saving import Download, Progress, Unfinished, unsigned
from serving.gen.longtake.v1.files_pb2 import File, UploadFileRequest
from serving.gen.longtake.v1.videos_pb2 import Video, WatchVideoResponse

Answer = TypeVar("Answer", bound=Message)
Item = TypeVar("Item")


class AioCalls:
    """One connection, of the event loop that it is made in."""

    def __init__(self, options: Options) -> None:
        credentials = options.credentials()
        self._options = options
        self._channel = (
            grpc.aio.insecure_channel(options.server, options.channel)
            if credentials is None
            else grpc.aio.secure_channel(options.server, credentials, options.channel)
        )

    async def close(self) -> None:
        """Close it."""
        await self._channel.close()

    async def ask(self, call: Call[Answer]) -> Answer:
        """The answer, over as many tries as the options allow. Raises `CallFailed`."""
        options = self._options
        method = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.answer.FromString,
        )
        attempts = Attempts(repeatable=call.repeatable, retries=options.retries, timeout_s=options.timeout_s)
        while True:
            try:
                return await method(call.request, timeout=attempts.left_s(), metadata=options.metadata)
            except grpc.RpcError as error:
                pause = attempts.pause_after(failure_of(error))
            await asyncio.sleep(pause)

    async def items(
        self,
        page_of: Callable[[int, str], Call[Answer]],
        read: Callable[[Answer], tuple[Sequence[Item], str]],
        limit: int,
    ) -> AsyncGenerator[Item]:
        """The first `limit` items of a list, over as many pages as they take. Raises `CallFailed`."""
        token = ""
        while limit > 0:
            items, token = read(await self.ask(page_of(limit, token)))
            for item in items:
                yield item
            limit -= len(items)
            if not token:
                return

    async def stream(self, call: Call[Answer], timeout_s: float | None) -> AsyncGenerator[Answer]:
        """Each answer as it comes. Raises `CallFailed`. Closed early, it ends the call."""
        method = self._channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.answer.FromString,
        )
        answers = method(call.request, timeout=timeout_s, metadata=self._options.metadata)
        try:
            async for answer in answers:
                yield answer
        except grpc.RpcError as error:
            raise failure_of(error) from error
        finally:
            answers.cancel()

    async def follow(
        self, video: str, *, cursor: str = "", previews: bool = False, timeout_s: float | None
    ) -> AsyncGenerator[WatchVideoResponse]:
        """The events of a video, over as many connections as it takes. Raises `CallFailed`."""
        retries = self._options.retries
        following = Following(video, cursor=cursor, previews=previews, timeout_s=timeout_s, retries=retries)
        while not following.ended:
            try:
                async with aclosing(self.stream(following.call(), following.left_s())) as events:
                    async for event in events:
                        last = following.saw(event)
                        yield event
                        if last:
                            return
                following.finished()
            except CallFailed as lost:
                await asyncio.sleep(following.pause_after(lost))

    async def wait(self, video: str, timeout_s: float | None, progress: Callable[[Video], None] | None) -> Video:
        """The video when it has ended. Raises `WaitTimeout` and `CallFailed`."""
        seen = None
        try:
            async with aclosing(self.follow(video, timeout_s=timeout_s)) as events:
                async for event in events:
                    if event.HasField("video"):
                        seen = event.video
                        if progress is not None:
                            progress(seen)
        except DeadlineExceeded as error:
            if timeout_s is None:
                raise
            raise WaitTimeout(video, timeout_s, seen) from error
        return seen if seen is not None and seen.state in ENDED else await self.ask(get(video))

    async def upload(self, path: Path, expire_after_s: int | None) -> File:
        """Once. Raises `CallFailed`, `Unsendable` and `OSError`."""
        method = self._channel.stream_unary(
            UPLOAD, request_serializer=UploadFileRequest.SerializeToString, response_deserializer=File.FromString
        )
        with path.open("rb") as file:
            parts, cancelled = UploadParts(path.name, file, expire_after_s), _cancellations()
            try:
                return await method(iter(parts), metadata=self._options.metadata)
            except asyncio.CancelledError:  # gRPC's, as the file could not be read; or somebody cancels this task
                if parts.failed is None or _cancellations() > cancelled:
                    raise
                raise parts.failed from None
            except grpc.RpcError as error:
                if parts.failed is not None:
                    raise parts.failed from None
                raise failure_of(error) from error

    async def download(self, url: str, path: Path, progress: Progress | None) -> int:
        """Save what a URL serves; its bytes. Raises `DownloadFailed` and `OSError`."""
        import httpx  # half the time that importing the client would take

        async with self._options.web(httpx.AsyncClient, url) as http:
            with Download(path, progress, retries=self._options.retries) as download:
                while True:
                    try:
                        async with http.stream("GET", url, headers=download.headers()) as response:
                            download.answered(response.status_code, response.headers, url)
                            async for piece in response.aiter_raw():
                                download.write(piece)
                        return download.whole()
                    except (httpx.RequestError, Unfinished) as error:
                        pause = download.pause_after(error)
                    await asyncio.sleep(pause)

    async def fetch(self, url: str) -> bytes:
        """What a URL serves, in memory. Raises `DownloadFailed`."""
        import httpx

        try:
            async with self._options.web(httpx.AsyncClient, url) as http:
                response = await http.get(url)
        except httpx.RequestError as error:
            raise DownloadFailed(f"{unsigned(url)}: {error or type(error).__name__}") from error
        if response.status_code != httpx.codes.OK:
            raise DownloadFailed(f"{unsigned(url)} answers {response.status_code}; ask anew, or try later")
        return response.content


def _cancellations() -> int:
    """How often this task was asked to end."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
