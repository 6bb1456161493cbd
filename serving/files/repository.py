"""Files that clients upload, and finished videos that are kept as files. Both surfaces use it, and the public
URLs.

A record is swapped, and an empty key beside it lists the file, newest first. Bytes are blobs. A deleted file's record
is a tombstone. Public URLs are built by `frontdoor/content/urls.py` from the record's token.

A file that stands for a finished video (`video` set) has no blob of its own: its bytes are the video's
virtual file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Protocol

from pydantic import ValidationError

from serving.errors import (
    Conflict,
    Corrupt,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    shown,
)
from serving.files.quota import Quota, Reserved
from serving.files.record import FileRecord, PublicUrl, check_filename
from serving.files.spool import kept_meanwhile
from serving.frozen import Digest, what_is_wrong
from serving.jobs.ids import derived_id, new_id
from serving.logs import logger
from serving.media.sniffing import content_type_of
from serving.paging import decode_token, encode_token
from serving.store import keys
from serving.store.base import Store, Versioned
from serving.store.blobs import Blobs

PIECE = 256 * 1024
"""Bytes of one piece of content."""
MIN_TTL_S, MAX_TTL_S = 3_600, 2_592_000
_log = logger("files")
PUBLISHABLE = ("image/", "video/", "application/pdf")


class VideoContent(Protocol):
    """How files read the bytes of finished videos."""

    async def video_size(self, tenant: str, video: str) -> int:
        """Bytes of the finished video's virtual file."""

    def video_bytes(self, tenant: str, video: str) -> AsyncIterator[bytes]:
        """The virtual file, in pieces."""


class Files:
    """The files of all tenants. Every method takes the tenant; another tenant's file is NOT_FOUND."""

    def __init__(
        self,
        store: Store,
        content: VideoContent,
        *,
        now_ms: Callable[[], int],
        max_bytes: int,
        quota: Quota | None = None,
        spool: Path | None = None,
    ) -> None:
        """`max_bytes` bounds one file, `quota` what a tenant has (None: nothing does); `spool` is where uploads wait
        until they are whole (default: the system's).
        """
        self._store = store
        self._content = content
        self._now_ms = now_ms
        self._max_bytes = max_bytes
        self._quota = quota or Quota(store, lambda _: None)
        self._spool = spool

    async def upload(
        self, tenant: str, filename: str, pieces: AsyncIterator[bytes], *, expires_after_s: int | None = None
    ) -> FileRecord:
        """Take in a file. Raises `InvalidArgument` (name, expiry, empty), `ResourceExhausted` (too large, the tenant
        has too much), `Unavailable` (no room to keep it meanwhile).
        """
        check_filename(filename)
        expires_ms = self._expiry(expires_after_s, "expires_after")
        await self._quota.check(tenant)
        with (
            kept_meanwhile("the upload", self._spool),
            tempfile.NamedTemporaryFile(dir=self._spool, prefix="longtake-upload-") as spooled,
            self._quota.reserved(tenant) as reserved,
        ):
            size, start = await self._receive(spooled, pieces, reserved)
            digest = await Blobs(self._store, tenant).put(Path(spooled.name))
        record = FileRecord(
            id=new_id("file_"),
            tenant=tenant,
            filename=filename,
            size=size,
            content_type=content_type_of(start),
            sha256=digest,
            created_ms=self._now_ms(),
            expires_ms=expires_ms,
            nonce=secrets.token_hex(8),
        )
        return await self._create(record)

    async def _receive(self, spooled: IO[bytes], pieces: AsyncIterator[bytes], reserved: Reserved) -> tuple[int, bytes]:
        """Write the pieces down; size and the first bytes."""
        size, start = 0, b""
        async for piece in pieces:
            size += len(piece)
            if size > self._max_bytes:
                raise ResourceExhausted(
                    f"the file is larger than {self._max_bytes} bytes, the most that one file may have",
                    reason="FILE_TOO_LARGE",
                )
            reserved.grow(len(piece))
            if len(start) < 64:
                start += piece[:64]
            await asyncio.to_thread(spooled.write, piece)
        if size == 0:
            raise InvalidArgument("data", "the file is empty", reason="FILE_EMPTY")
        await asyncio.to_thread(spooled.flush)
        return size, start

    async def keep_video(
        self, tenant: str, video: str, filename: str, *, expires_after_s: int | None = None
    ) -> FileRecord:
        """Keep a finished video as a file. The same video gives the same file, however often it is asked."""
        check_filename(filename)
        found = await self.of_video(tenant, video)
        if found is not None:
            return found
        size = await self._content.video_size(tenant, video)
        record = FileRecord(
            id=derived_id("file_", tenant, video),
            tenant=tenant,
            filename=filename,
            size=size,
            content_type="video/mp4",
            sha256=None,
            created_ms=self._now_ms(),
            expires_ms=self._expiry(expires_after_s, "storage_options.expires_after"),
            video=video,
            nonce=secrets.token_hex(8),
        )
        return await self._create(record)

    async def keep_image(
        self, tenant: str, origin: str, image: Digest, size: int, filename: str, *, expires_after_s: int | None = None
    ) -> FileRecord:
        """Keep a PNG blob as a file. The same `origin` (job and number) gives the same file, however often."""
        check_filename(filename)
        file_id = derived_id("file_", tenant, origin)
        with contextlib.suppress(NotFound):
            return await self.get(tenant, file_id)
        record = FileRecord(
            id=file_id,
            tenant=tenant,
            filename=filename,
            size=size,
            content_type="image/png",
            sha256=image,
            created_ms=self._now_ms(),
            expires_ms=self._expiry(expires_after_s, "storage_options.expires_after"),
            nonce=secrets.token_hex(8),
        )
        return await self._create(record)

    async def of_video(self, tenant: str, video: str) -> FileRecord | None:
        """The file that stands for a video, if it was kept."""
        with contextlib.suppress(NotFound):
            return await self.get(tenant, derived_id("file_", tenant, video))
        return None

    async def get(self, tenant: str, file_id: str) -> FileRecord:
        """One file. Raises `NotFound` for unknown, deleted and expired ones."""
        return (await self._read(tenant, file_id))[0]

    async def page(self, tenant: str, *, size: int, token: str = "") -> tuple[list[FileRecord], str]:
        """Up to `size` files, newest first, and the token of the next page (empty at the end)."""
        prefix = keys.files_by_time_of(tenant)
        after = decode_token(token, "files") if token else ""
        found: list[FileRecord] = []
        async for listed in self._store.list(prefix, after=prefix + after if after else ""):
            if len(found) == size:
                return found, encode_token(after, "files")
            after = listed.key.removeprefix(prefix)
            try:
                record = await self.get(tenant, keys.id_in(after))
            except NotFound:
                continue
            except Corrupt as error:
                _log.error("file left out of a listing", tenant=tenant, message=error.message)
                continue
            # Another entry is of a keep that was interrupted; the one that came after it made the file.
            if keys.file_by_time(tenant, record.created_ms, record.id) == listed.key:
                found.append(record)
        return found, ""

    async def all(self, tenant: str) -> list[FileRecord]:
        """All files of a tenant, newest first: for orders and filters that the store cannot give."""
        files, token = await self.page(tenant, size=100)
        while token:
            more, token = await self.page(tenant, size=100, token=token)
            files += more
        return files

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file. Requests that used it stay whole: they hold its digest."""
        await self._change(tenant, file_id, lambda record: record.model_copy(update={"deleted": True, "public": None}))

    async def content(self, record: FileRecord) -> AsyncIterator[bytes]:
        """A file's bytes in pieces. Raises `Corrupt` at the end when they do not match the digest."""
        if record.video is not None:
            async for piece in self._content.video_bytes(record.tenant, record.video):
                yield piece
            return
        if record.sha256 is None:
            raise Corrupt(f"the record of {record.id} names neither bytes nor a video")
        blobs = Blobs(self._store, record.tenant)
        hashed = hashlib.sha256()
        for start in range(0, record.size, PIECE):
            piece = await blobs.get_range(record.sha256, start, PIECE)
            hashed.update(piece)
            yield piece
        if hashed.hexdigest() != record.sha256:
            raise Corrupt(f"the bytes of {record.id} do not match their digest")

    async def publish(self, tenant: str, file_id: str, *, expires_after_s: int | None = None) -> FileRecord:
        """Give a file its public token; a file that has one keeps it, with the new expiry if one is given.
        Unset expiry: as long as the file lives.
        """
        expires_ms = self._expiry(expires_after_s, "expires_after")
        record = await self.get(tenant, file_id)
        if not record.content_type.startswith(PUBLISHABLE):
            raise FailedPrecondition(
                f"{file_id} is {record.content_type}: only images, videos and PDFs can have a public URL",
                reason="FILE_NOT_PUBLISHABLE",
            )
        public = PublicUrl(token=secrets.token_urlsafe(24), expires_ms=expires_ms or record.expires_ms)

        def give(current: FileRecord) -> FileRecord:
            if current.public is None or not self._is_public(current):
                return current.model_copy(update={"public": public})
            if expires_after_s is None:
                return current
            return current.model_copy(update={"public": PublicUrl(token=current.public.token, expires_ms=expires_ms)})

        return await self._change(tenant, file_id, give)

    async def revoke(self, tenant: str, file_id: str) -> bool:
        """Take the public token away; False when there was none."""
        had = self._is_public(await self.get(tenant, file_id))
        await self._change(tenant, file_id, lambda record: record.model_copy(update={"public": None}))
        return had

    async def open_public(self, tenant: str, file_id: str, token: str) -> FileRecord:
        """The file of a public URL. Raises `NotFound` when it was revoked, has expired or never was."""
        record = await self.get(tenant, file_id)
        if record.public is None or not self._is_public(record):
            raise NotFound("no such public file", reason="FILE_NOT_FOUND")
        if not secrets.compare_digest(record.public.token.encode(), token.encode()):
            raise NotFound("no such public file", reason="FILE_NOT_FOUND")
        return record

    def _is_public(self, record: FileRecord) -> bool:
        return record.public is not None and not self._past(record.public.expires_ms)

    def _past(self, moment_ms: int | None) -> bool:
        return moment_ms is not None and moment_ms <= self._now_ms()

    def _expiry(self, seconds: int | None, field: str) -> int | None:
        if seconds is None:
            return None
        if not MIN_TTL_S <= seconds <= MAX_TTL_S:
            raise InvalidArgument(field, f"{seconds} s: it takes {MIN_TTL_S} to {MAX_TTL_S} seconds (1 h to 30 days)")
        return self._now_ms() + seconds * 1000

    async def _create(self, record: FileRecord) -> FileRecord:
        """The listing's entry first: one without its record is skipped, a record without one would be lost."""
        index = keys.file_by_time(record.tenant, record.created_ms, record.id)
        await self._store.put_if_absent(index, b"")
        key = keys.file(record.tenant, record.id)
        created = await self._store.put_if_absent(key, record.model_dump_json().encode())
        if created:
            return record
        stored = FileRecord.model_validate_json((await self._store.get(key)).data)
        if stored.deleted or stored.created_ms != record.created_ms:
            # This attempt's entry would list the file twice.
            await self._store.delete(index)
        return await self.get(record.tenant, record.id)

    async def _read(self, tenant: str, file_id: str) -> tuple[FileRecord, Versioned]:
        if not re.fullmatch(r"file_[a-z2-7]{26}", file_id):
            raise NotFound(f"no file {shown(file_id)}", reason="FILE_NOT_FOUND")
        try:
            stored = await self._store.get(keys.file(tenant, file_id))
        except NotFound as error:
            raise NotFound(f"no file {shown(file_id)}", reason="FILE_NOT_FOUND") from error
        try:
            record = FileRecord.model_validate_json(stored.data)
        except ValidationError as error:
            raise Corrupt(f"the record of {file_id} cannot be read by this version: {what_is_wrong(error)}") from error
        if record.deleted or self._past(record.expires_ms):
            raise NotFound(f"no file {shown(file_id)}: it was deleted or has expired", reason="FILE_NOT_FOUND")
        return record, stored

    async def _change(self, tenant: str, file_id: str, change: Callable[[FileRecord], FileRecord]) -> FileRecord:
        """Swap a record; read again as often as another writer was faster."""
        while True:
            record, stored = await self._read(tenant, file_id)
            changed = change(record)
            if changed == record:
                return record
            changed = changed.model_copy(update={"version": record.version + 1, "nonce": secrets.token_hex(8)})
            with contextlib.suppress(Conflict):
                await self._store.swap(keys.file(tenant, file_id), changed.model_dump_json().encode(), stored.version)
                return changed
