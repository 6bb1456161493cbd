"""Finished videos as one file each, made of stored fragments while it is read. `routes.py` and `files/repository.py`
read it; `create/intake.py` compares uploads with it.

A film is a header (computed from the head's manifest) and spans of blobs. It belongs to one head: an extension is
another video with its own film, whose media bytes begin with those of its input, bit for bit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from serving.errors import FailedPrecondition
from serving.files.repository import PIECE
from serving.frontdoor.content.ranges import ByteRange
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.follow.recent import Recent
from serving.frontdoor.follow.records import Records
from serving.jobs.record import JobRecord, JobState
from serving.media.virtual import VirtualFile, signed_box, virtual_file
from serving.requests import Kind
from serving.segments.lineage import Segments
from serving.store.base import Store
from serving.store.blobs import Blobs

MOST_BYTES = 16 * 1024 * 1024
"""Memory for films that are open. A player asks for many ranges of the same file; an hour takes about 0.7 MB."""
_PIECE_BYTES = 200
"""What a film remembers of one segment: a digest, a size, where it ends."""


@dataclass(frozen=True)
class Film:
    """One file."""

    etag: str
    file: VirtualFile

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size

    @property
    def memory(self) -> int:
        """Bytes that it takes to remember it."""
        return len(self.file.header) + _PIECE_BYTES * (1 + len(self.file.blobs))


class Films:
    """One per front-door process."""

    def __init__(self, store: Store, records: Records, signer: UrlSigner) -> None:
        self._store = store
        self._records = records
        self._signer = signer
        self._films: Recent[tuple[str, str, str], Film] = Recent(MOST_BYTES)

    async def of(self, record: JobRecord) -> Film:
        """The film of a finished video. Raises `FailedPrecondition` for anything else."""
        head = record.head
        if record.state is not JobState.SUCCEEDED or record.request.kind is not Kind.VIDEO or head is None:
            raise FailedPrecondition(f"{record.id} is no finished video: it is {record.state.value}")
        key = (record.tenant, record.id, head)
        known = self._films.get(key)
        if known is not None:
            return known
        film = await self._open(record, head)
        self._films.put(key, film, film.memory)
        return film

    async def _open(self, record: JobRecord, head: str) -> Film:
        segments = Segments(self._store, record.tenant)
        manifest = await segments.get(head)
        init = await Blobs(self._store, record.tenant).get(manifest.init)
        box = signed_box(record.id, head, self._signer.box_key)
        file = virtual_file(manifest.track, init, await segments.media(manifest), box=box)
        return Film(etag=f'"{head[:32]}-{record.id[-8:]}"', file=file)

    async def read(self, tenant: str, film: Film, span: ByteRange) -> AsyncIterator[bytes]:
        """Some of its bytes, in pieces, in order."""
        blobs = Blobs(self._store, tenant)
        header = film.file.header
        if span.start < len(header):
            yield header[span.start : span.stop]
        for piece in film.file.pieces(span.start, span.stop):
            for at in range(0, piece.length, PIECE):
                yield await blobs.get_range(piece.blob, piece.offset + at, min(PIECE, piece.length - at))

    async def video_size(self, tenant: str, video: str) -> int:
        """Bytes of a finished video's file."""
        return (await self.of((await self._records.view(tenant, video)).record)).size

    async def video_bytes(self, tenant: str, video: str) -> AsyncIterator[bytes]:
        """The whole file, in pieces."""
        film = await self.of((await self._records.view(tenant, video)).record)
        async for piece in self.read(tenant, film, ByteRange(0, film.size)):
            yield piece
