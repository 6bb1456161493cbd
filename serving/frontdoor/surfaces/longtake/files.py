"""`longtake.v1.Files` on the wire. `register.py` registers it; everything else is in `serving/files`.

Method names are the protos', hence their capitals.
"""

# ruff: noqa: N802  (the wire decides names)

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from serving.errors import InvalidArgument
from serving.files.record import FileRecord
from serving.files.repository import Files
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.edge.timestamps import fitting, timestamp
from serving.gen.longtake.v1 import files_pb2
from serving.paging import page_size


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
        return _message(record)

    async def GetFile(self, request: files_pb2.GetFileRequest, call: Call) -> files_pb2.File:
        """What is known of a file."""
        return _message(await self.files.get(call.caller.tenant, request.id))

    async def ListFiles(self, request: files_pb2.ListFilesRequest, call: Call) -> files_pb2.ListFilesResponse:
        """Newest first."""
        size = page_size(request.page_size)
        records, token = await self.files.page(call.caller.tenant, size=size, token=request.page_token)
        return files_pb2.ListFilesResponse(files=map(_message, records), next_page_token=token)

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


def _message(record: FileRecord) -> files_pb2.File:
    """One file."""
    message = fitting(
        files_pb2.File,
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
