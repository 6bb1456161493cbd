"""`AsyncClient`: the form for asyncio. What a call says stands in `calls.py`, how it is sent in `aio_calls.py`.

`sync.py` is its twin: a test holds that both have the same methods with the same arguments.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Self

from serving.client import calls
from serving.client.aio_calls import AioCalls
from serving.client.options import DEFAULT_SERVER, RETRIES, TIMEOUT_S, Options
from serving.client.requests import named_media
from serving.client.saving import FilePart, Progress, image_urls_of, url_of
from serving.gen.longtake.v1.files_pb2 import File
from serving.gen.longtake.v1.jobs_pb2 import Job, JobHistory, RequeuedJob, RequeueJobsRequest
from serving.gen.longtake.v1.models_pb2 import Model
from serving.gen.longtake.v1.videos_pb2 import CreateVideoRequest, Lineage, Media, Segment, Video, WatchVideoResponse


class AsyncClient:
    """For one event loop, in which it is made; safe for many tasks. Nothing is connected before the first call.

    `tls` trusts the system's authorities, `ca_file` (PEM) those in it alone and means `tls`. A call with one answer has
    `timeout_s` seconds, its resends included; after UNAVAILABLE, and where only too many calls came at once, it is sent
    again up to `retries` times if that makes nothing twice. Uploads, streams and downloads take their time. Every
    method may raise what `errors.py` draws.

    >>> async with AsyncClient(server) as client:
    ...     (await client.model("studio-1")).fps
    16
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        api_key: str | None = None,
        tls: bool = False,
        ca_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
    ) -> None:
        self._calls = AioCalls(Options(server, api_key, tls, ca_file, timeout_s, retries))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. Videos go on."""
        await self._calls.close()

    async def create(self, request: CreateVideoRequest) -> Video:
        """Start a video or images; it is durable when this returns. Without a `request_id` it gets one.

        >>> (await client.create(create_request("a red bar", seconds=1))).seconds
        1
        """
        return await self._calls.ask(calls.create(request))

    async def plan(self, request: CreateVideoRequest) -> Video:
        """Check a request and plan it: the video as it would be, without an id. No job is made.

        >>> (await client.plan(create_request("a red bar", seconds=3))).plan.segments
        3
        """
        return await self._calls.ask(calls.plan(request))

    async def get(self, video: str) -> Video:
        """A video as it stands.

        >>> (await client.get(video)).progress.percent
        100
        """
        return await self._calls.ask(calls.get(video))

    async def wait(
        self, video: str, *, timeout_s: float | None = None, progress: Callable[[Video], None] | None = None
    ) -> Video:
        """The video when it has ended, well or not. `progress` is called with each new state of it.

        Raises `WaitTimeout` after `timeout_s` seconds; the video goes on then.

        >>> (await client.wait(video, timeout_s=60)).state == Video.SUCCEEDED
        True
        """
        return await self._calls.wait(video, timeout_s, progress)

    def watch(
        self, video: str, *, cursor: str = "", previews: bool = False, timeout_s: float | None = None
    ) -> AsyncGenerator[WatchVideoResponse]:
        """What happens to a video, from the start or from a cursor, until it has ended.

        A lost connection is opened again from the newest cursor, so no event is missed or told twice. Raises
        `DeadlineExceeded` after `timeout_s` seconds.

        >>> [event.segment.frames async for event in client.watch(video) if event.HasField("segment")]
        [17]
        """
        return self._calls.follow(video, cursor=cursor, previews=previews, timeout_s=timeout_s)

    def list(self, *, limit: int = 20) -> AsyncGenerator[Video]:
        """Videos, newest first, as many pages as `limit` takes.

        >>> video in [found.id async for found in client.list(limit=1000)]
        True
        """
        return self._calls.items(calls.list_videos, calls.videos_in, limit)

    async def download(self, video: str, path: Path, *, number: int = 0, progress: Progress | None = None) -> int:
        """Save a finished video's MP4, or image `number` (from 0) of an image job; its bytes.

        `progress` is called with the bytes that are there and those of the whole. A lost connection goes on where it
        was lost, and so does another download to this path after one that failed.

        >>> await client.download(video, folder / "circle.mp4") > 1000
        True
        """
        return await self._calls.download(url_of(await self.get(video), number), path, progress)

    async def images(self, video: str) -> Sequence[bytes]:
        """The images of an image job, PNG.

        >>> [image[1:4] for image in await client.images(pictures)]
        [b'PNG', b'PNG']
        """
        return [await self._calls.fetch(url) for url in image_urls_of(await self.get(video))]

    async def cancel(self, video: str) -> Video:
        """Stop a video within one denoising step; segments that were committed stay.

        >>> (await client.cancel(waiting)).state == Video.CANCELLED
        True
        """
        return await self._calls.ask(calls.cancel(video))

    async def delete(self, video: str) -> None:
        """Delete a video that has ended. Videos that extend it keep their frames.

        >>> await client.delete(waiting)
        """
        await self._calls.ask(calls.delete(video))

    async def lineage(self, video: str) -> Lineage:
        """The segments from the root to a video's head, over as many pages as they take.

        >>> (await client.lineage(video)).duration.ToMilliseconds()
        1062
        """
        pages = [await self._calls.ask(calls.lineage(video, ""))]
        while token := pages[-1].next_page_token:
            pages.append(await self._calls.ask(calls.lineage(video, token)))
        return calls.joined(pages)

    def segments(self, video: str, *, skip: int = 0, limit: int = 1) -> AsyncGenerator[Segment]:
        """Segments of a video's lineage, each with what it was shown: `limit` of them after the first `skip`.

        >>> [segment.history_left_out async for segment in client.segments(video, skip=0)]
        [0]
        """
        page_of = partial(calls.segments, video, skip)
        return self._calls.items(page_of, calls.segments_in, limit)

    async def upload(self, path: Path, *, expire_after_s: int | None = None) -> File:
        """Keep a picture or video for later requests; for `expire_after_s` seconds, or until it is deleted.

        It is never sent twice by itself. Raises `OSError` for a file that cannot be read, and `Unsendable`
        for a time that no message has room for.

        >>> (await client.upload(picture, expire_after_s=3600)).content_type
        'image/png'
        """
        return await self._calls.upload(path, expire_after_s)

    async def media(self, source: str) -> Media:
        """A URL or a file id as it is; anything else is a local file, which is uploaded.

        >>> (await client.media(str(picture))).file_id.startswith("file_")
        True
        """
        return named_media(source) or Media(file_id=(await self.upload(Path(source))).id)

    async def file(self, file: str) -> File:
        """What is known of a file.

        >>> (await client.file(file)).filename
        'cat.png'
        """
        return await self._calls.ask(calls.get_file(file))

    def files(self, *, limit: int = 20) -> AsyncGenerator[File]:
        """Files, newest first, as many pages as `limit` takes.

        >>> file in [found.id async for found in client.files(limit=1000)]
        True
        """
        return self._calls.items(calls.list_files, calls.files_in, limit)

    async def download_file(self, file: str, path: Path, *, progress: Progress | None = None) -> int:
        """Save a file as it was uploaded, checked against its digest; its bytes.

        >>> await client.download_file(file, folder / "copy.png") == picture.stat().st_size
        True
        """
        stream = self._calls.stream(calls.download_file(file), None)
        with FilePart(await self.file(file), path, progress) as part:
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    part.write(piece.data)
            return part.whole()

    async def delete_file(self, file: str) -> None:
        """Delete a file; videos that were made from it stay whole.

        >>> await client.delete_file(file)
        """
        await self._calls.ask(calls.delete_file(file))

    async def jobs(self, *, dead: bool = False) -> Sequence[Job]:
        """What waits and runs, oldest first, with what is left of each; or dead letters. As many pages as it takes.

        >>> len(await client.jobs(dead=True))
        0
        """
        page = await self._calls.ask(calls.list_jobs(dead=dead, token=""))
        jobs = list(page.jobs)
        while page.next_page_token:
            page = await self._calls.ask(calls.list_jobs(dead=dead, token=page.next_page_token))
            jobs += page.jobs
        return jobs

    async def explain(self, video: str) -> JobHistory:
        """The life of a job, in order.

        >>> (await client.explain(video)).events[0].kind
        'created'
        """
        return await self._calls.ask(calls.explain(video))

    async def requeue(self, video: str) -> Video:
        """Run a dead letter again, as a new video; asking twice gives the same one.

        >>> await client.requeue(video)
        Traceback (most recent call last):
        serving.client.errors.FailedPrecondition: ...no dead letter...
        """
        return await self._calls.ask(calls.requeue(video))

    def requeue_all(self, which: RequeueJobsRequest, *, limit: int) -> AsyncGenerator[RequeuedJob]:
        """Run dead letters again that `which` describes, `limit` at most; or, by its `validate_only`, tell them.

        Who stops halfway, or is stopped, begins anew: what was run again is no dead letter any more. What could not be
        stays one, and `why_not` says why.

        >>> [again.id async for again in client.requeue_all(RequeueJobsRequest(code="INTERNAL"), limit=100)]
        []
        """
        return self._calls.items(partial(calls.requeue_page, which), calls.requeued_in, limit)

    async def models(self) -> Sequence[Model]:
        """What the server can make.

        >>> [model.name for model in await client.models()]
        ['studio-1']
        """
        return (await self._calls.ask(calls.list_models())).models

    async def model(self, name: str) -> Model:
        """One model, by name or alias.

        >>> (await client.model("studio-1")).seconds.max
        15
        """
        return await self._calls.ask(calls.get_model(name))
