"""`xai_api.Files` onto Longtake's files. `register.py` registers it.

Uploads, lists with order, paging and filter, content, and public URLs that `content/routes.py` serves without
credentials.
"""

# ruff: noqa: N802

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from serving.errors import InvalidArgument
from serving.files.record import FileRecord, PublicUrl
from serving.files.repository import Files
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.edge.timestamps import fitting, timestamp
from serving.frontdoor.surfaces.xai.filter import Facts, parse_filter
from serving.gen.xai.api.v1 import files_pb2 as pb
from serving.paging import opaque, read_opaque

MAX_PAGE = 100
"""Files of one list answer, and the default."""
UPLOADED = "completed"
"""`upload_status` of every file: one that is not whole has no record."""
_UNREADABLE = "it is not a token of a file list"


@dataclass(frozen=True)
class XaiFiles:
    """The service. A file of another tenant is NOT_FOUND."""

    files: Files
    signer: UrlSigner
    now_ms: Callable[[], int]

    async def UploadFile(self, request: AsyncIterator[pb.UploadFileChunk], call: Call) -> pb.File:
        """One init, then the bytes."""
        first = await anext(request, None)
        if first is None or first.WhichOneof("chunk") != "init":
            raise InvalidArgument("init", "the first chunk of an upload carries `init` with the file's name")
        expires = first.init.expires_after if first.init.HasField("expires_after") else None
        try:
            record = await self.files.upload(
                call.caller.tenant, first.init.name, _data(request), expires_after_s=expires
            )
        except InvalidArgument as error:
            raise _in_our_words(error, {"filename": "name"}) from error
        return self.message(record)

    async def ListFiles(self, request: pb.ListFilesRequest, call: Call) -> pb.ListFilesResponse:
        """A page of files. The order of equal ones is by id, so pages neither repeat nor skip."""
        if request.limit < 0:
            raise InvalidArgument("limit", f"it cannot be negative; leave it unset for {MAX_PAGE}")
        size = min(request.limit, MAX_PAGE) or MAX_PAGE
        wanted = parse_filter(request.filter) if request.filter else None
        listing = _Listing.of(request)
        # Any order and any filter come from the records themselves: the store lists by time only.
        found = [
            record
            for record in await self.files.all(call.caller.tenant)
            if wanted is None or wanted(self.facts(record))
        ]
        found.sort(key=listing.position, reverse=listing.descending)
        if request.pagination_token:
            last = listing.read_token(request.pagination_token)
            found = [record for record in found if listing.after(record, last)]
        page = found[:size]
        response = pb.ListFilesResponse(data=[self.message(record) for record in page])
        if len(found) > size:
            response.pagination_token = listing.token(page[-1])
        return response

    async def RetrieveFile(self, request: pb.RetrieveFileRequest, call: Call) -> pb.File:
        """What is known of a file."""
        return self.message(await self.files.get(call.caller.tenant, request.file_id))

    async def DeleteFile(self, request: pb.DeleteFileRequest, call: Call) -> pb.DeleteFileResponse:
        """Delete a file; its public URL goes with it."""
        await self.files.delete(call.caller.tenant, request.file_id)
        return pb.DeleteFileResponse(id=request.file_id, deleted=True)

    async def RetrieveFileContent(
        self, request: pb.RetrieveFileContentRequest, call: Call
    ) -> AsyncGenerator[pb.FileContentChunk]:
        """The bytes, as they were uploaded."""
        if request.format == pb.DOWNLOAD_FORMAT_TEXT:
            raise InvalidArgument("format", "text is not extracted from files: ask for DOWNLOAD_FORMAT_ORIGINAL")
        record = await self.files.get(call.caller.tenant, request.file_id)
        async for piece in self.files.content(record):
            yield pb.FileContentChunk(data=piece)

    async def CreatePublicUrl(self, request: pb.CreatePublicUrlRequest, call: Call) -> pb.CreatePublicUrlResponse:
        """A URL for anyone; the same one as long as the file has it."""
        expires = request.expires_after if request.HasField("expires_after") else None
        record = await self.files.publish(call.caller.tenant, request.file_id, expires_after_s=expires)
        response = pb.CreatePublicUrlResponse(public_url=self.public_url(record) or "")
        if record.public and record.public.expires_ms:
            response.expires_at.CopyFrom(timestamp(record.public.expires_ms))
        return response

    async def RevokePublicUrl(self, request: pb.RevokePublicUrlRequest, call: Call) -> pb.RevokePublicUrlResponse:
        """Take the public URL back."""
        before = await self.files.get(call.caller.tenant, request.file_id)
        revoked = await self.files.revoke(call.caller.tenant, request.file_id)
        url = self.public_url(before) if revoked else None
        return pb.RevokePublicUrlResponse(file_id=request.file_id, revoked=revoked, public_url=url)

    def public_url(self, record: FileRecord) -> str | None:
        """A file's public URL, if it has one that works."""
        public = self._public(record)
        if public is None:
            return None
        return self.signer.file_url(record.tenant, record.id, record.filename, public.token)

    def _public(self, record: FileRecord) -> PublicUrl | None:
        public = record.public
        if public is None or (public.expires_ms is not None and public.expires_ms <= self.now_ms()):
            return None
        return public

    def message(self, record: FileRecord) -> pb.File:
        """A record as the wire has it."""
        message = fitting(
            pb.File,
            size=record.size, created_at=timestamp(record.created_ms), filename=record.filename, id=record.id,
            public_url=self.public_url(record),
        )  # fmt: skip
        if record.expires_ms is not None:
            message.expires_at.CopyFrom(timestamp(record.expires_ms))
        public = self._public(record)
        if public is not None and public.expires_ms is not None:
            message.public_url_expires_at.CopyFrom(timestamp(public.expires_ms))
        return message

    def facts(self, record: FileRecord) -> Facts:
        """A record as filters see it."""
        public = self._public(record)
        return {
            "file_id": record.id,
            "name": record.filename,
            "file_name": record.filename,
            "size_bytes": record.size,
            "content_type": record.content_type,
            "created_at": _moment(record.created_ms),
            "expires_at": _moment(record.expires_ms),
            "upload_status": UPLOADED,
            "user_defined_id": None,
            "public_url": self.public_url(record),
            "public_url_expires_at": _moment(public.expires_ms) if public else None,
        }


@dataclass(frozen=True)
class _Listing:
    """An order of files, and the tokens that say where a page of it ended."""

    sort_by: int
    descending: bool
    filter_digest: str

    @classmethod
    def of(cls, request: pb.ListFilesRequest) -> _Listing:
        digest = hashlib.sha256(request.filter.encode()).hexdigest()[:12]
        return cls(request.sort_by, request.order == pb.DESCENDING, digest)

    def position(self, record: FileRecord) -> tuple[str | int, str]:
        """Where a file stands in the order."""
        if self.sort_by == pb.FILES_SORT_BY_FILENAME:
            return record.filename, record.id
        return record.size if self.sort_by == pb.FILES_SORT_BY_SIZE else record.created_ms, record.id

    def after(self, record: FileRecord, last: tuple[str | int, str]) -> bool:
        """Whether a file comes after this position."""
        first, second = self.position(record)
        # One order holds texts or numbers, never both; the token was made by the same order.
        key, other = (str(first), str(last[0])) if isinstance(first, str) else (first, int(last[0]))
        return (key, second) < (other, last[1]) if self.descending else (key, second) > (other, last[1])

    def token(self, record: FileRecord) -> str:
        return opaque(json.dumps([self.sort_by, self.descending, self.filter_digest, *self.position(record)]))

    def read_token(self, token: str) -> tuple[str | int, str]:
        """Raises `InvalidArgument` for what is no token, and for one of another order or filter."""
        try:
            sort_by, descending, digest, value, last_id = json.loads(read_opaque(token))
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidArgument("pagination_token", _UNREADABLE) from error
        if (sort_by, descending, digest) != (self.sort_by, self.descending, self.filter_digest):
            raise InvalidArgument(
                "pagination_token", "it belongs to another order or filter: repeat those of the first page"
            )
        wanted = str if self.sort_by == pb.FILES_SORT_BY_FILENAME else int
        if not isinstance(value, wanted) or not isinstance(last_id, str):
            raise InvalidArgument("pagination_token", _UNREADABLE)
        return value, last_id


async def _data(chunks: AsyncIterator[pb.UploadFileChunk]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if chunk.WhichOneof("chunk") != "data":
            raise InvalidArgument("data", "after `init` every chunk of an upload carries `data`")
        yield chunk.data


def _in_our_words(error: InvalidArgument, names: dict[str, str]) -> InvalidArgument:
    """The same complaint, naming the field as this wire calls it."""
    return InvalidArgument(names.get(error.field, error.field), error.description, reason=error.reason)


def _moment(moment_ms: int | None) -> datetime | None:
    return None if moment_ms is None else datetime.fromtimestamp(moment_ms / 1000, UTC)
