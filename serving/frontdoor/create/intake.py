"""Takes pictures and videos in: from URLs, uploaded files and bytes, all of them hostile until proven harmless.

`settle.py` calls it. What comes out is a digest: the original bytes, stored as a blob after they were decoded once in
the sandbox. A video that Longtake made is recognised by its id, by its URL, or by the signed box that an uploaded copy
carries, and is extended from its segments; any other video is foreign.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.errors import FailedPrecondition, InvalidArgument, NotFound, shown
from serving.files.quota import Quota
from serving.files.record import FileRecord
from serving.files.repository import Files
from serving.files.spool import kept_meanwhile
from serving.frontdoor.content.films import Films
from serving.frontdoor.content.urls import Target, UrlSigner
from serving.frontdoor.create.drafts import ExtensionDraft, MediaDraft
from serving.frontdoor.create.turns import Turns
from serving.frontdoor.follow.records import Records
from serving.frozen import Digest
from serving.jobs.record import JobRecord, JobState
from serving.media.fetch import Fetcher
from serving.media.sandbox import MAX_PICTURE_BYTES, Decoder, PictureFacts
from serving.media.sniffing import content_type_of
from serving.media.virtual import VirtualFile, read_signed_box
from serving.requests import ForeignSource, Kind, OwnSource
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest
from serving.store.base import Store
from serving.store.blobs import Blobs

PICTURES = ("image/png", "image/jpeg", "image/webp")
MAX_URL_VIDEO_BYTES = 128 * 1024 * 1024
"""A video behind a URL is held in memory until it is stored; larger ones are uploaded as files."""
MOST_URL_CHARS = 8192
"""Of a URL that is no data URL."""
MARK_BYTES = 64 * 1024
"""The signed box stands within so many bytes of a file's start."""


@dataclass(frozen=True)
class TakenPicture:
    """A picture of the caller's."""

    blob: Digest
    facts: PictureFacts


@dataclass(frozen=True)
class OwnParent:
    """A video that Longtake made, at the segment that is extended."""

    source: OwnSource
    manifest: SegmentManifest
    negative_prompt: str
    """What the video was not to be like."""


@dataclass(frozen=True)
class ForeignParent:
    """A video from elsewhere."""

    source: ForeignSource


class Intake:
    """One per front-door process."""

    def __init__(
        self,
        *,
        store: Store,
        files: Files,
        quota: Quota,
        films: Films,
        records: Records,
        signer: UrlSigner,
        fetcher: Fetcher,
        decoder: Decoder,
    ) -> None:
        self._store = store
        self._files = files
        self._quota = quota
        self._films = films
        self._records = records
        self._signer = signer
        self._fetcher = fetcher
        self._decoder = decoder
        self._turns = Turns()

    async def picture(self, tenant: str, draft: MediaDraft) -> TakenPicture:
        """A picture, once it is stored and known to decode.

        Raises `InvalidArgument`, `NotFound`, `ResourceExhausted`.
        """
        async with self._turns.holding(tenant):
            data = await self._picture_bytes(tenant, draft)
            if content_type_of(data) not in PICTURES:
                raise InvalidArgument(draft.field, "it is no picture: PNG, JPEG and WebP are supported")
            async with self._turns.checking(tenant, data, draft.field):
                facts = await self._decoder.check_image(data, field=draft.field)
            return TakenPicture(await self._quota.put(tenant, data), facts)

    async def _picture_bytes(self, tenant: str, draft: MediaDraft) -> bytes:
        if draft.data is not None:
            return draft.data
        if draft.file_id:
            return await self._file_bytes(await self._file(tenant, draft.file_id, draft.field), draft.field)
        target = self._target(tenant, draft)
        if target is None:
            return await self._fetched(tenant, draft, MAX_PICTURE_BYTES)
        if target.route == "file":
            return await self._file_bytes(await self._public_file(target, draft.field), draft.field)
        if target.route == "image":
            images = (await self._finished(tenant, target.id, draft.field)).images
            if target.number < len(images):
                return await Blobs(self._store, tenant).get(images[target.number])
        raise InvalidArgument(draft.field, "this URL is of no picture that was made here")

    async def _file_bytes(self, record: FileRecord, field: str) -> bytes:
        if record.size > MAX_PICTURE_BYTES:
            raise InvalidArgument(field, f"the picture has {record.size} bytes; at most {MAX_PICTURE_BYTES} are taken")
        return b"".join([piece async for piece in self._files.content(record)])

    async def parent(self, tenant: str, extension: ExtensionDraft, field: str) -> OwnParent | ForeignParent:
        """The video that is extended. `field` is what the caller calls it.

        Raises `InvalidArgument`, `NotFound`, `ResourceExhausted`, and `FailedPrecondition` for an own video that is not
        finished.
        """
        media = extension.media
        if media is None:
            return await self._own(tenant, extension.video_id, extension.segment, field)
        target = self._target(tenant, media)
        if target is not None and target.route == "video":
            return await self._own(tenant, target.id, extension.segment, media.field)
        if target is not None and target.route != "file":
            raise InvalidArgument(media.field, "this URL is of a picture, not of a video")
        async with self._turns.holding(tenant), self._at_hand(tenant, media, target) as (record, path):
            if record is not None and record.video is not None:
                return await self._own(tenant, record.video, extension.segment, media.field)
            copied = await self._recognised(tenant, path)
            if copied is not None:
                return await self._own(tenant, copied, extension.segment, media.field)
            if extension.segment:
                raise InvalidArgument(f"{field}.segment", "only a video that was made here has segments to name")
            return ForeignParent(await self._foreign(tenant, path, media.field))

    async def _own(self, tenant: str, video: str, segment: str, field: str) -> OwnParent:
        """A finished video of this tenant, at its head or at an earlier segment."""
        record = await self._finished(tenant, video, field)
        if record.request.kind is not Kind.VIDEO or record.head is None:
            raise InvalidArgument(field, f"{video} is no video: images cannot be extended")
        segments, negative = Segments(self._store, tenant), record.request.negative_prompt
        head = await segments.get(record.head)
        if not segment or segment == record.head:
            return OwnParent(OwnSource(video=video, segment=record.head), head, negative)
        named = await segments.on_path(head, segment)
        if named is not None:
            return OwnParent(OwnSource(video=video, segment=segment), named, negative)
        raise InvalidArgument(f"{field}.segment", f"{shown(segment)} is no segment of {video}: GetLineage lists them")

    async def _finished(self, tenant: str, video: str, field: str) -> JobRecord:
        record = (await self._records.view(tenant, video)).record
        if record.state is JobState.SUCCEEDED:
            return record
        if not record.state.terminal:
            advice = "wait until it has succeeded"
        elif record.request.extends is not None:
            advice = f"extend {record.request.extends.video}, which it continued, or make it again"
        else:
            advice = "make it again"
        raise FailedPrecondition(f"{field}: {video} is {record.state.value}: {advice}", reason="VIDEO_NOT_FINISHED")

    @asynccontextmanager
    async def _at_hand(
        self, tenant: str, media: MediaDraft, target: Target | None
    ) -> AsyncIterator[tuple[FileRecord | None, Path]]:
        """The medium as a file on this machine, for as long as it is looked at; its record if it was uploaded.

        Raises `Unavailable` for what goes wrong with that file, also while it is looked at.
        """
        record = None
        if target is not None:
            record = await self._public_file(target, media.field)
        elif media.file_id:
            record = await self._file(tenant, media.file_id, media.field)
        with kept_meanwhile("the video"), tempfile.TemporaryDirectory(prefix="longtake-intake-") as folder:
            path = Path(folder) / "input"
            if record is None:
                data = media.data
                if data is None:
                    data = await self._fetched(tenant, media, MAX_URL_VIDEO_BYTES)
                await asyncio.to_thread(path.write_bytes, data)
                del data
            elif record.video is None:
                with path.open("wb") as file:
                    async for piece in self._files.content(record):
                        await asyncio.to_thread(file.write, piece)
            yield record, path

    async def _recognised(self, tenant: str, path: Path) -> str | None:
        """The video of which this file is an exact copy, by its signed box and the digests of its parts."""
        mark = read_signed_box(await asyncio.to_thread(_start_of, path), self._signer.box_key)
        if mark is None:
            return None
        try:
            record = (await self._records.view(tenant, mark.video)).record
        except NotFound:
            return None
        if record.state is not JobState.SUCCEEDED or record.head != mark.manifest:
            return None
        film = await self._films.of(record)
        return mark.video if await asyncio.to_thread(_is_copy, path, film.file) else None

    async def _foreign(self, tenant: str, path: Path, field: str) -> ForeignSource:
        """A video from elsewhere, probed in the sandbox and stored."""
        if content_type_of(await asyncio.to_thread(_start_of, path)) != "video/mp4":
            raise InvalidArgument(field, "it is no MP4 file, the one kind of video that is supported")
        async with self._turns.decoding(tenant):
            facts = await self._decoder.probe_video(path, field=field)
        blob = await self._quota.put(tenant, path)
        return ForeignSource(blob=blob, seconds=facts.seconds, width=facts.width, height=facts.height)

    async def _fetched(self, tenant: str, media: MediaDraft, max_bytes: int) -> bytes:
        if _holds_its_bytes(media.url):
            return await self._fetcher.fetch(tenant, media.url, field=media.field, max_bytes=max_bytes)
        async with self._turns.fetching(tenant):
            return await self._fetcher.fetch(tenant, media.url, field=media.field, max_bytes=max_bytes)

    def _target(self, tenant: str, media: MediaDraft) -> Target | None:
        """What a URL of ours stands for. An expired one still names its video; one of another tenant names nothing."""
        if len(media.url) > MOST_URL_CHARS and not _holds_its_bytes(media.url):
            raise InvalidArgument(
                media.field, f"the URL has {len(media.url)} characters; {MOST_URL_CHARS} are the most that are read"
            )
        target = self._signer.recognise(media.url) if media.url else None
        if target is not None and target.tenant != tenant:
            raise NotFound(f"{media.field}: no such video, image or file", reason="MEDIA_NOT_FOUND")
        return target

    async def _file(self, tenant: str, file_id: str, field: str) -> FileRecord:
        try:
            return await self._files.get(tenant, file_id)
        except NotFound as error:
            raise NotFound(f"{field}: {error.message}", reason=error.reason) from error

    async def _public_file(self, target: Target, field: str) -> FileRecord:
        try:
            return await self._files.open_public(target.tenant, target.id, target.token)
        except NotFound as error:
            raise NotFound(f"{field}: {error.message}", reason=error.reason) from error


def _holds_its_bytes(url: str) -> bool:
    return url[:64].lstrip()[:5].lower() == "data:"


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MARK_BYTES)


def _is_copy(path: Path, film: VirtualFile) -> bool:
    """Whether the file is, byte by byte, this virtual file: compared by digests, without reading the blobs."""
    if path.stat().st_size != film.size:
        return False
    with path.open("rb") as file:
        if file.read(len(film.header)) != film.header:
            return False
        parts = zip(film.blobs, film.sizes, strict=True)
        return all(hashlib.sha256(file.read(size)).hexdigest() == blob for blob, size in parts)
