"""`storage_options`: results that are kept as files. `video.py` and `image.py` use it.

What a client asked for is written beside the job, once, before its id is given out, and done when the result is first
fetched. A failure to keep never fails the job: the answer carries the reason instead.

Clients ask no more after such an answer. So while the store is away a poll has none, and is sent again; a call that
waited for its images, and is the only one that gets them, waits a little more, and then goes without the file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

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

T = TypeVar("T")
FIRST_WAIT_S = 0.25
"""Before the second try; each later wait is twice as long."""


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
        """Keep a finished video if that was asked for; the same file, however often it is fetched.

        Raises what another try may not meet, as that the store is away.
        """
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
        return await self._outcome(
            lambda: self._files.keep_video(
                record.tenant, record.id, options.filename, expires_after_s=options.expires_after_s
            ),
            options,
            None,
        )

    async def keep_image(
        self, record: JobRecord, number: int, size: int, options: KeepOptions, *, until: float
    ) -> KeepOutcome:
        """Keep image `number` of a finished job; `size` in bytes. What another try may not meet is tried again until
        then, of the event loop's time in seconds; it is the reason after that.
        """
        mine = options.numbered(number)
        return await self._outcome(
            lambda: self._files.keep_image(
                record.tenant,
                f"{record.id}/{number}",
                record.images[number],
                size,
                mine.filename,
                expires_after_s=mine.expires_after_s,
            ),
            mine,
            until,
        )

    async def _outcome(
        self, keep: Callable[[], Awaitable[FileRecord]], options: KeepOptions, until: float | None
    ) -> KeepOutcome:
        file = await _done_or_why(keep, until)
        if isinstance(file, str):
            return KeepOutcome(storage_error=file)
        return KeepOutcome(await self._output(file, options, until))

    async def _output(self, file: FileRecord, options: KeepOptions, until: float | None) -> image_pb2.FileOutput:
        output = image_pb2.FileOutput(file_id=file.id, filename=file.filename)
        if file.expires_ms is not None:
            output.expires_at.CopyFrom(timestamp(file.expires_ms))
        if not options.public:
            return output
        published: FileRecord | str = file
        # A public URL that the owner has taken back stays away: only a file's first answer makes one.
        if file.public is None and not file.version:
            published = await _done_or_why(lambda: self._publish(file, options), until)
        if isinstance(published, str):
            output.public_url_error = published
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


async def _done_or_why(work: Callable[[], Awaitable[T]], until: float | None) -> T | str:
    """What the work gives, or why it gives nothing. What may pass is tried again until then; with None it is raised."""
    clock, wait_s = asyncio.get_running_loop().time, FIRST_WAIT_S
    while True:
        try:
            return await work()
        except LongtakeError as error:
            if until is None and not error.final:
                raise
            if until is None or error.final or clock() + wait_s > until:
                return error.message
        await asyncio.sleep(wait_s)
        wait_s *= 2
