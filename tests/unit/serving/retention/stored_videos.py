"""Videos as front door, Director and stages write them, with the real repositories and a few bytes of content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from serving.files.record import FileRecord
from serving.files.repository import Files
from serving.jobs.ids import derived_id, new_id
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.plan import plan
from serving.requests import OwnSource, VideoRequest
from serving.segments.lineage import Segments, shape_of
from serving.segments.manifest import LatentRef, ManifestCanvas, MediaPart, SegmentManifest
from serving.segments.picture import EncodedPicture
from serving.store.base import Store
from serving.store.blobs import Blobs
from tests.unit.serving.frontdoor.builders import CAPABILITIES, DIGEST
from tests.unit.serving.segments.paged import PagedSegments

TENANT = "default"


class StoredVideos:
    """One tenant's videos."""

    def __init__(self, store: Store, now_ms: Callable[[], int], tenant: str = TENANT) -> None:
        self.store = store
        self.now_ms = now_ms
        self.tenant = tenant
        self.jobs = Jobs(store)
        self.blobs = Blobs(store, tenant)
        self.segments = Segments(store, tenant)
        self.paged: PagedSegments | None = None
        """Writes them as the version before did."""
        self.whole_parts = False
        """Writes them as the one before that did: with the parts of the whole video."""
        self.files = Files(store, None, now_ms=now_ms, max_bytes=1000)  # type: ignore[arg-type]

    # ── front door ──────────────────────────────────────────────────────────────────────────────────────────────

    async def accept(
        self, parent: str = "", *, seconds: int = 1, picture: bytes = b"", key: str = "", seed: int = 1, **fields: Any
    ) -> JobRecord:
        """A job that waits. Raises what the front door would."""
        source, shape = None, None
        if parent:
            living = await self.jobs.get(self.tenant, parent)
            assert living.head is not None
            source, shape = OwnSource(video=parent, segment=living.head), shape_of(await self.segments.get(living.head))
        first = await self.blobs.put(picture) if picture else None
        request = VideoRequest(
            model="sprite-2",
            seconds=seconds,
            aspect_ratio="1:1",
            resolution="480p",
            steps=2,
            seed=seed,
            extends=source,
            first_frame=first,
        )
        record = JobRecord(
            id=derived_id("vid_", self.tenant, key) if key else new_id("vid_"),
            tenant=self.tenant,
            request=request,
            plan=plan(request, CAPABILITIES, model_digest=DIGEST, seed=seed, parent=shape),
            idempotency_key=key,
            created_ms=self.now_ms(),
            **fields,
        )
        return (await self.jobs.create(record)).record

    async def keep_file(self, data: bytes, **fields: Any) -> FileRecord:
        """An uploaded file."""
        digest = await self.blobs.put(data)
        record = FileRecord(
            id=new_id("file_"),
            tenant=self.tenant,
            filename="a.png",
            size=len(data),
            content_type="image/png",
            sha256=digest,
            created_ms=self.now_ms(),
            nonce="n",
        )
        return await self.files._create(record.model_copy(update=fields))

    async def delete(self, video: str) -> None:
        """As `DeleteVideo` does."""
        await self.jobs.delete(await self.jobs.get(self.tenant, video))

    # ── Director and stages ─────────────────────────────────────────────────────────────────────────────────────

    async def make(self, record: JobRecord, *, fail_after: int | None = None) -> JobRecord:
        """Carry a waiting job out. With `fail_after` it fails when it has committed so many segments."""
        record = await self.start(record)
        reference = await self._reference(record)
        parent = await self.segments.get(record.head) if record.head else None
        for number, _ in enumerate(record.plan.segments):
            if number == fail_after:
                return await self.end(record, JobState.FAILED)
            parent = await self._segment(record, parent, reference)
            record = await self.jobs.transition(record, segments=(*record.segments, parent.digest()))
        return await self.end(record, JobState.SUCCEEDED)

    async def start(self, record: JobRecord) -> JobRecord:
        """Claim it."""
        return await self.jobs.transition(record, state=JobState.RUNNING, attempt=1, started_ms=self.now_ms())

    async def end(self, record: JobRecord, state: JobState) -> JobRecord:
        """The terminal swap."""
        ended = await self.jobs.transition(record, state=state, finished_ms=self.now_ms())
        await self.jobs.retire(ended)
        return ended

    async def finished(self, parent: str = "", **fields: Any) -> JobRecord:
        """A finished one."""
        return await self.make(await self.accept(parent, **fields))

    async def _reference(self, record: JobRecord) -> Sequence[LatentRef]:
        """As the Conditioner does: from the cache, else computed."""
        picture = record.request.first_frame
        if picture is None:
            return ()
        key = hashlib.sha256(picture.encode()).hexdigest()
        cached = await self.blobs.cache_get("first-frame", key)
        if cached is None:
            latent = await self.blobs.put(b"latent of " + await self.blobs.get(picture))
            found = EncodedPicture(latent=LatentRef(blob=latent, start=0, count=1))
            await self.blobs.cache_put("first-frame", key, await self.blobs.put(found.model_dump_json().encode()))
        else:
            found = EncodedPicture.model_validate_json(await self.blobs.get(cached))
        await self.blobs.get(found.latent.blob)
        return (found.latent,)

    async def _segment(
        self, record: JobRecord, parent: SegmentManifest | None, references: Sequence[LatentRef]
    ) -> SegmentManifest:
        start = parent.total_frames if parent else 0
        if parent is not None:
            await self.blobs.get(parent.tail.blob)
        made = f"{record.plan.seed} {start}".encode()
        latents = LatentRef(blob=await self.blobs.put(b"latents " + made), start=0, count=1)
        media = b"media " + made
        part = MediaPart(
            blob=await self.blobs.put(media), size=len(media), fragment_sizes=(len(media),), fragment_frames=(16,)
        )
        manifest = SegmentManifest(
            kind="generated",
            tenant=record.tenant,
            video=record.id,
            parent=parent.digest() if parent else None,
            depth=parent.depth + 1 if parent else 0,
            model="sprite-2",
            model_digest=DIGEST,
            prompt="",
            effective_prompt="",
            seed=record.plan.seed,
            steps=2,
            canvas=ManifestCanvas(aspect_ratio="1:1", height=64, width=64),
            track=record.plan.track,
            frames=17 if parent is None else 16,
            start_frame=start,
            latents=latents,
            anchor=parent.anchor if parent else latents,
            tail=latents,
            references=tuple(references),
            init=await self.blobs.put(b"init"),
            parts=(*(parent.parts if parent and self.whole_parts else ()), part),
            trail=parent.next_trail() if parent and not self.paged and not self.whole_parts else None,
            earlier=await self.paged.after(parent) if parent and self.paged else None,
            thumbnail=await self.blobs.put(b"thumbnail " + made[:1]),
        )
        await self.segments.commit(manifest)
        return manifest

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def whole(self, video: str) -> None:
        """Read all that a living job needs. Raises `NotFound` or `Corrupt` for what is not there."""
        record = await self.jobs.get(self.tenant, video)
        for blob in (*record.request.references, *record.images):
            await self.blobs.get(blob)
        if record.request.first_frame:
            await self.blobs.get(record.request.first_frame)
        if record.head is None:
            return
        head = await self.segments.get(record.head)
        for segment in await self.segments.path(head):
            manifest = await self.segments.get(segment.digest)
            latents = (manifest.latents, manifest.anchor, manifest.tail, *manifest.references)
            parts = (part.blob for part in manifest.parts)
            for blob in (*(ref.blob for ref in latents), *parts, manifest.init, manifest.thumbnail):
                await self.blobs.get(blob)
