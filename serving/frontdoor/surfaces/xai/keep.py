"""`storage_options`: results that are kept as files. `video.py` and `image.py` use it.

What a client asked for is written beside the job, once, before its id is given out, and done when the result is first
fetched. A failure to keep never fails the job: the answer carries the reason instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import ValidationError

from serving.errors import InvalidArgument, LongtakeError, NotFound
from serving.files.record import FileRecord, check_filename
from serving.files.repository import MAX_TTL_S, MIN_TTL_S, Files
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.edge.timestamps import timestamp
from serving.frozen import Stored
from serving.gen.xai.api.v1 import image_pb2
from serving.jobs.record import JobRecord
from serving.store import keys
from serving.store.base import Store


class KeepOptions(Stored):
    """What a client asked for, checked."""

    filename: str
    expires_after_s: int | None = None
    public: bool = False
    public_expires_after_s: int | None = None

    def numbered(self, number: int) -> KeepOptions:
        """For the image `number` (from 0) of several: `cat.png`, `cat-2.png`."""
        if number == 0:
            return self
        path = PurePosixPath(self.filename)
        return self.model_copy(update={"filename": f"{path.stem[:240]}-{number + 1}{path.suffix}"})


def read_options(request: image_pb2.StorageOptions) -> KeepOptions:
    """Raises `InvalidArgument` for a name or a time that no file can have."""
    try:
        check_filename(request.filename)
    except InvalidArgument as error:
        raise InvalidArgument("storage_options.filename", error.description) from error
    public = request.public_url
    return KeepOptions(
        filename=request.filename,
        expires_after_s=_ttl("storage_options.expires_after", request),
        public=request.HasField("public_url"),
        public_expires_after_s=_ttl("storage_options.public_url.expires_after", public),
    )


def _ttl(field: str, holder: image_pb2.StorageOptions | image_pb2.PublicUrlOptions) -> int | None:
    if not holder.HasField("expires_after"):
        return None
    if not MIN_TTL_S <= holder.expires_after <= MAX_TTL_S:
        raise InvalidArgument(
            field, f"{holder.expires_after} s: it takes {MIN_TTL_S} to {MAX_TTL_S} seconds (1 h to 30 days)"
        )
    return holder.expires_after


@dataclass(frozen=True)
class KeepOutcome:
    """What became of keeping one result: a file, or the reason why there is none."""

    file_output: image_pb2.FileOutput | None = None
    storage_error: str | None = None


class Keeper:
    """Keeps results as files."""

    def __init__(self, store: Store, files: Files, signer: UrlSigner) -> None:
        self._store = store
        self._files = files
        self._signer = signer

    async def note(self, record: JobRecord, options: KeepOptions) -> None:
        """Write down what is wanted. A resent create finds its first note and leaves it."""
        await self._store.put_if_absent(
            keys.keep_note(record.tenant, record.id), json.dumps(options.model_dump()).encode()
        )

    async def keep_video(self, record: JobRecord) -> KeepOutcome:
        """Keep a finished video if that was asked for; the same file, however often it is fetched."""
        try:
            stored = await self._store.get(keys.keep_note(record.tenant, record.id))
        except NotFound:
            return KeepOutcome()
        try:
            options = KeepOptions.model_validate_json(stored.data)
        except ValidationError:
            return KeepOutcome(storage_error="this server cannot read what was asked for; a later version may")
        if unknown := ", ".join(options.unknown()):
            return KeepOutcome(
                storage_error=f"this server does not know {unknown}; one of a later version makes the file"
            )
        try:
            file = await self._files.keep_video(
                record.tenant, record.id, options.filename, expires_after_s=options.expires_after_s
            )
        except LongtakeError as error:
            return KeepOutcome(storage_error=error.message)
        return KeepOutcome(await self._output(file, options))

    async def keep_image(self, record: JobRecord, number: int, size: int, options: KeepOptions) -> KeepOutcome:
        """Keep image `number` of a finished job; `size` in bytes."""
        mine = options.numbered(number)
        try:
            file = await self._files.keep_image(
                record.tenant,
                f"{record.id}/{number}",
                record.images[number],
                size,
                mine.filename,
                expires_after_s=mine.expires_after_s,
            )
        except LongtakeError as error:
            return KeepOutcome(storage_error=error.message)
        return KeepOutcome(await self._output(file, mine))

    async def _output(self, file: FileRecord, options: KeepOptions) -> image_pb2.FileOutput:
        output = image_pb2.FileOutput(file_id=file.id, filename=file.filename)
        if file.expires_ms is not None:
            output.expires_at.CopyFrom(timestamp(file.expires_ms))
        if not options.public:
            return output
        try:
            # A public URL that the owner has taken back stays away: only a file's first answer makes one.
            published = file if file.public or file.version else await self._publish(file, options)
        except LongtakeError as error:
            output.public_url_error = error.message
            return output
        if published.public is None:
            output.public_url_error = "the public URL was revoked"
            return output
        output.public_url = self._signer.file_url(file.tenant, file.id, file.filename, published.public.token)
        if published.public.expires_ms is not None:
            output.public_url_expires_at.CopyFrom(timestamp(published.public.expires_ms))
        return output

    async def _publish(self, file: FileRecord, options: KeepOptions) -> FileRecord:
        return await self._files.publish(file.tenant, file.id, expires_after_s=options.public_expires_after_s)
