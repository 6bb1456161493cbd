"""Media over HTTP, for anyone who has a signed URL: videos, images, thumbnails, public files. `edge/http.py` mounts it.

    GET|HEAD /v/<video>.mp4     one virtual file, by range: nothing is copied or joined (films.py)
    GET|HEAD /i/<video>/<n>.png      /t/<video>.png      /f/<file>/<filename>
    OPTIONS  the same: what a page of another origin may send, so that players there can ask for ranges

The signature is all that counts: no credentials are read. Content of users is served so that no browser runs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from serving.errors import LongtakeError, NotFound, PermissionDenied
from serving.files.record import FileRecord
from serving.files.repository import PIECE, Files
from serving.frontdoor.content.films import Films
from serving.frontdoor.content.ranges import ByteRange, Unsatisfiable, names_etag, wanted_range
from serving.frontdoor.content.urls import Target, UrlSigner
from serving.frontdoor.follow.records import Records
from serving.jobs.record import JobRecord, JobState
from serving.logs import logger
from serving.metrics import MEDIA_BYTES, Recorder
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.store.base import Store
from serving.store.blobs import Blobs

SAFE: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; img-src 'self'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range, ETag",
}
"""On every answer. Any page may show the media: who has the URL may read it."""
PREFLIGHT: Mapping[str, str] = {
    **SAFE,
    "Allow": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Range, If-Range, If-None-Match",
    "Access-Control-Max-Age": "86400",
}
"""What a browser is told before a page of another origin may ask with these headers; it says nothing of the media."""
INLINE = ("image/png", "image/jpeg", "image/webp", "video/mp4")
"""What a browser may show by itself; the rest is a download."""


@dataclass(frozen=True)
class Body:
    """Something to serve: what it is, and how to read a part of it."""

    size: int
    content_type: str
    etag: str
    filename: str
    read: Callable[[ByteRange], AsyncIterator[bytes]]


class Content:
    """The routes."""

    def __init__(
        self,
        store: Store,
        *,
        signer: UrlSigner,
        records: Records,
        films: Films,
        files: Files,
        metrics: Recorder,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._signer = signer
        self._records = records
        self._films = films
        self._files = files
        self._metrics = metrics
        self._now_ms = now_ms
        self._log = logger("content")

    def routes(self) -> list[Route]:
        """For the HTTP app. HEAD comes with GET."""
        paths = ("/v/{name}", "/i/{video}/{name}", "/t/{name}", "/f/{file}/{name}")
        serve = [Route(path, self._serve, methods=["GET"]) for path in paths]
        return [*serve, *(Route(path, _preflight, methods=["OPTIONS"]) for path in paths)]

    async def _serve(self, request: Request) -> Response:
        now_ms = self._now_ms()
        try:
            target = self._signer.check(request.scope["path"], request.query_params, now_ms)
            body = await self._body(target)
        except PermissionDenied as error:
            return _refusal(403, error.message)
        except NotFound as error:
            return _refusal(404, error.message)
        except LongtakeError as error:
            self._log.error("media could not be read", path=request.scope["path"], message=error.message)
            return _refusal(503, "the media cannot be read at the moment: try again")
        return self._answer(request, target, body, now_ms)

    def _answer(self, request: Request, target: Target, body: Body, now_ms: int) -> Response:
        headers = {
            **SAFE,
            "ETag": body.etag,
            "Accept-Ranges": "bytes",
            "Cache-Control": _caching(target, now_ms),
        }
        if names_etag(request.headers.get("if-none-match"), body.etag):
            return Response(status_code=304, headers=headers)
        try:
            wanted = wanted_range(
                body.size,
                range_header=request.headers.get("range"),
                if_range=request.headers.get("if-range"),
                etag=body.etag,
            )
        except Unsatisfiable:
            return _refusal(416, f"the file has {body.size} bytes", {"Content-Range": f"bytes */{body.size}"})
        status = 206 if wanted else 200
        part = wanted or ByteRange(0, body.size)
        headers["Content-Length"] = str(part.length)
        headers["Content-Disposition"] = _disposition(body)
        headers["Content-Type"] = body.content_type
        if wanted:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{body.size}"
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        return StreamingResponse(self._counted(target.route, body.read(part)), status_code=status, headers=headers)

    async def _counted(self, route: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The next piece is read when the last one is on its way: a slow reader holds one piece."""
        async for piece in pieces:
            yield piece
            self._metrics.add(MEDIA_BYTES, len(piece), route=route)

    async def _body(self, target: Target) -> Body:
        """What a URL stands for. Raises `NotFound` when it is not there (any more)."""
        if target.route == "file":
            return await self._file(target)
        record = (await self._records.view(target.tenant, target.id)).record
        if target.route == "thumbnail":
            return await self._thumbnail(record)
        if record.state is not JobState.SUCCEEDED:
            raise NotFound(f"{record.id} is {record.state.value}: its media are there when it has succeeded")
        if target.route == "image":
            if target.number >= len(record.images):
                raise NotFound(f"{record.id} has {len(record.images)} images")
            name = f"{record.id}-{target.number + 1}.png"
            return await self._blob(record.tenant, record.images[target.number], "image/png", name)
        if record.request.kind is not Kind.VIDEO:
            raise NotFound(f"{record.id} made images, not a video")
        return await self._film(record.tenant, record, f"{record.id}.mp4")

    async def _film(self, tenant: str, record: JobRecord, filename: str) -> Body:
        film = await self._films.of(record)
        return Body(film.size, "video/mp4", film.etag, filename, lambda wanted: self._films.read(tenant, film, wanted))

    async def _thumbnail(self, record: JobRecord) -> Body:
        if not record.segments:
            raise NotFound(f"{record.id} has no segment yet, hence no thumbnail")
        manifest = await Segments(self._store, record.tenant).get(record.segments[-1])
        return await self._blob(record.tenant, manifest.thumbnail, "image/png", f"{record.id}.png")

    async def _file(self, target: Target) -> Body:
        record = await self._files.open_public(target.tenant, target.id, target.token)
        if record.video is not None:
            job = (await self._records.view(record.tenant, record.video)).record
            return await self._film(record.tenant, job, record.filename)
        if record.sha256 is None:
            raise NotFound("no such public file")
        return await self._blob(record.tenant, record.sha256, record.content_type, record.filename, record)

    async def _blob(
        self, tenant: str, digest: str, content_type: str, filename: str, record: FileRecord | None = None
    ) -> Body:
        blobs = Blobs(self._store, tenant)
        size = record.size if record else await blobs.size(digest)

        async def read(wanted: ByteRange) -> AsyncIterator[bytes]:
            for start in range(wanted.start, wanted.stop, PIECE):
                yield await blobs.get_range(digest, start, min(PIECE, wanted.stop - start))

        return Body(size, content_type, f'"{digest[:32]}"', filename, read)


async def _preflight(_: Request) -> Response:
    return Response(status_code=204, headers=PREFLIGHT)


def _refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(message + "\n", status, headers={**SAFE, "Cache-Control": "no-store", **(headers or {})})


def _caching(target: Target, now_ms: int) -> str:
    """A signed URL may be kept as long as it works; a public file is asked for again, for it may be revoked."""
    if target.expires_ms is None:
        return "no-cache"
    return f"private, max-age={max(0, (target.expires_ms - now_ms) // 1000)}"


def _disposition(body: Body) -> str:
    kind = "inline" if body.content_type in INLINE else "attachment"
    return f"{kind}; filename*=UTF-8''{quote(body.filename, safe='')}"
