"""Mark: from the records of one tenant's jobs, files and caches, find every key that is needed.

`collect.py` has the argument why nothing that is needed is missed. Of each key 64 bits are kept: should two keys agree
in them, the one is spared for the other's sake, so an error there can only keep garbage.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from serving.errors import Corrupt, NotFound
from serving.files.record import FileRecord
from serving.jobs.record import JobRecord, JobState
from serving.retention import references
from serving.retention.context import Collection
from serving.retention.expire import expire_file, expire_video
from serving.retention.report import Damage
from serving.segments.lineage import Segments
from serving.segments.picture import EncodedPicture
from serving.store import keys
from serving.store.base import Listed
from serving.store.blobs import Blobs


class KeySet:
    """A set of keys, by their hashes."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, added: Iterable[str]) -> None:
        """Put them in."""
        self._hashes.update(map(hash, added))

    def __contains__(self, key: object) -> bool:
        return hash(key) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)


class Mark:
    """What one tenant needs. `run` it, then ask."""

    def __init__(self, collection: Collection, tenant: str) -> None:
        self.tenant = tenant
        self.live = KeySet()
        self.unfinished = KeySet()
        """Ids of jobs that may still work."""
        self.damaged = False
        self.before_ms = collection.before(collection.retention.margin_s)
        """Names older than this may go."""
        self.content_before_ms = self.before_ms
        """Segments and blobs older than this may go: no running attempt has touched them."""
        self._collection = collection
        self._store = collection.store
        self._segments = Segments(collection.store, tenant)
        self._blobs = Blobs(collection.store, tenant)
        self._walked: set[bytes] = set()

    async def run(self) -> None:
        """Read the roots, and follow them. Those whose time is over are deleted on the way."""
        roots = (
            ("jobs", keys.jobs_of, self._job),
            ("files", keys.files_of, self._file),
            ("cache", keys.caches_of, self._cached),
        )
        for what, prefix_of, work in roots:
            found = self._store.list(prefix_of(self.tenant))
            await self._collection.each(f"{self.tenant}: marking {what}", found, work)

    # ── roots ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _job(self, entry: Listed) -> None:
        try:
            record = JobRecord.decode((await self._store.get(entry.key)).data)
        except NotFound:
            return
        except ValidationError as error:
            self._damage(entry.key, _first(error))
            return
        if record.state is JobState.DELETED:
            if not await self._deleted_lately(entry):
                return
        elif record.state.terminal:
            await expire_video(self._collection, record)  # all of it stays until its tombstone is older than the margin
        else:
            self._note_unfinished(record)
        self.live.add(references.names_of_job(record))
        self._need(references.blobs_of_job(record))
        for digest in references.segments_of_job(record):
            await self._path(digest)

    def _note_unfinished(self, record: JobRecord) -> None:
        self.unfinished.add([record.id])
        if record.started_ms is not None:
            margin_ms = round(self._collection.retention.margin_s * 1000)
            self.content_before_ms = min(self.content_before_ms, record.started_ms - margin_ms)

    async def _file(self, entry: Listed) -> None:
        try:
            stored = await self._store.get(entry.key)
            record = FileRecord.model_validate_json(stored.data)
        except NotFound:
            return
        except ValidationError as error:
            self._damage(entry.key, _first(error))
            return
        if record.deleted:
            if not await self._deleted_lately(entry):
                return
        else:
            await expire_file(self._collection, record, stored.version)
        self.live.add(references.names_of_file(record))
        if record.sha256 is not None:
            self._need([record.sha256])

    async def _cached(self, entry: Listed) -> None:
        """What a cache names is needed; also when the entry is old, and goes in this collection."""
        try:
            digest = (await self._store.get(entry.key)).data.decode()
        except NotFound:
            return
        if entry.modified_ms is None or entry.modified_ms >= self._collection.before(
            self._collection.retention.cache_ttl_s
        ):
            self.live.add([entry.key])
        self._need(await cached_blobs(self._blobs, entry.key, digest))

    async def _deleted_lately(self, entry: Listed) -> bool:
        """Whether a tombstone is younger than the margin: until then, whoever saw the living record may name its parts.

        It may be younger than it was listed, for the listing may have seen the living record.
        """
        if entry.modified_ms is None or entry.modified_ms >= self.before_ms:
            return True
        async for now in self._store.list(entry.key, limit=1):
            if now.key == entry.key:
                return now.modified_ms is None or now.modified_ms >= self.before_ms
        return False

    # ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _path(self, digest: str | None) -> None:
        """A segment, and its parents up to one that is marked."""
        while digest is not None:
            walked = bytes.fromhex(digest)  # exact: two that are mixed up here would cost the one its parents
            if walked in self._walked:
                return
            self._walked.add(walked)
            key = keys.segment(self.tenant, digest)
            self.live.add([key])
            try:
                manifest = await self._segments.get(digest)
            except (NotFound, Corrupt) as error:
                self._damage(key, error.message)
                return
            self._need(references.blobs_of_segment(manifest))
            if manifest.earlier is not None:
                await self._pages(manifest.earlier.page)
            digest = manifest.parent

    async def _pages(self, digest: str | None) -> None:
        """A page, and those before it up to one that is marked."""
        while digest is not None:
            walked = bytes.fromhex(digest)
            if walked in self._walked:
                return
            self._walked.add(walked)
            key = keys.page(self.tenant, digest)
            self.live.add([key])
            try:
                digest = (await self._segments.page(digest)).before
            except (NotFound, Corrupt) as error:
                self._damage(key, error.message)
                return

    def _need(self, digests: Iterable[str]) -> None:
        self.live.add(keys.blob(self.tenant, digest) for digest in digests)

    def _damage(self, key: str, why: str) -> None:
        self.damaged = True
        self._collection.report.damaged.append(Damage(self.tenant, key, why))


async def cached_blobs(blobs: Blobs, key: str, digest: str) -> list[str]:
    """Digests of all that a cache's entry leads to: its blob, and the latents that an encoded picture names."""
    if keys.kind_of_cached(key) == "text":
        return [digest]
    try:
        picture = EncodedPicture.model_validate_json(await blobs.get(digest))
    except (NotFound, Corrupt, ValidationError):  # it is lost or of another kind, and then leads nowhere
        return [digest]
    return [digest, picture.latent.blob]


def _first(error: ValidationError) -> str:
    """What is wrong, in a line."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
