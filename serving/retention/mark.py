"""Mark: from the records of one tenant's jobs, files and caches, find every key that is needed.

`collect.py` has the argument why nothing that is needed is missed. What was read by an earlier collection and cannot
have changed is not read again (`known.py`):

* A manifest or page goes by its digest. All that it reaches is named by digests too.
* A record of a job that has ended, of a file or of a cache goes by its key, size and age. That is sure only for one
  that was older than the margin when it was read: whoever writes it after that gives it another age, for the store's
  clock has long gone past the old one. What is younger, unfinished or deleted is read in every collection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import ValidationError

from serving.errors import Corrupt, NotFound
from serving.files.record import FileRecord
from serving.frozen import Stored, what_is_wrong
from serving.jobs.record import JobRecord, JobState
from serving.retention import references
from serving.retention.context import Collection, is_old
from serving.retention.expire import expire_file, expire_video, is_past
from serving.retention.key_set import KeySet, id_of
from serving.retention.known import Known, Reach
from serving.retention.report import Damage
from serving.segments.lineage import Segments
from serving.segments.picture import EncodedPicture
from serving.store import keys
from serving.store.base import Listed
from serving.store.blobs import Blobs, digest_in

_SEGMENT, _PAGE, _RECORD = b"s", b"p", b"r"
"""What kind of name: its first byte."""


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
        self._known = Known(collection.store, tenant)
        self._unknown: set[bytes] = set()
        """Names that are being read, or that cannot be."""

    async def run(self) -> None:
        """Read the roots, and follow them. Those whose time is over are deleted on the way."""
        await self._known.load()
        roots = (
            ("jobs", keys.jobs_of, self._job),
            ("files", keys.files_of, self._file),
            ("cache", keys.caches_of, self._cached),
        )
        for what, prefix_of, work in roots:
            found = self._collection.listed(prefix_of(self.tenant))
            await self._collection.each(f"{self.tenant}: marking {what}", found, work)
        if not self.damaged and not self._collection.dry_run:
            await self._known.save()

    # ── roots ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _job(self, entry: Listed) -> None:
        known = self._known_record(entry)
        if known is not None:
            await self._follow(known)
            return
        try:
            record = JobRecord.decode((await self._store.get(entry.key)).data)
        except NotFound:
            return
        except ValidationError as error:
            self._damage(entry.key, what_is_wrong(error))
            return
        if self._may_need_more(entry.key, record):
            return
        needs = (*references.names_of_job(record), *self._keys_of(references.blobs_of_job(record)))
        reach = Reach(
            needs=_ids(needs),
            leads_to=tuple(_SEGMENT + bytes.fromhex(digest) for digest in references.segments_of_job(record)),
            finished_ms=record.finished_ms or record.created_ms,
            expires_ms=record.expires_ms or 0,
        )
        if record.state is JobState.DELETED:
            if not await self._deleted_lately(entry):
                return
        elif record.state.terminal:
            if not await expire_video(
                self._collection, record
            ):  # it stays until its tombstone is older than the margin
                await self._learn_record(entry, reach)
        else:
            self._note_unfinished(record)
        await self._follow(reach)

    def _note_unfinished(self, record: JobRecord) -> None:
        self.unfinished.add([record.id])
        if record.started_ms is not None:
            margin_ms = round(self._collection.retention.margin_s * 1000)
            self.content_before_ms = min(self.content_before_ms, record.started_ms - margin_ms)

    async def _file(self, entry: Listed) -> None:
        known = self._known_record(entry)
        if known is not None:
            await self._follow(known)
            return
        try:
            stored = await self._store.get(entry.key)
            record = FileRecord.model_validate_json(stored.data)
        except NotFound:
            return
        except ValidationError as error:
            self._damage(entry.key, what_is_wrong(error))
            return
        if self._may_need_more(entry.key, record):
            return
        content = self._keys_of([record.sha256] if record.sha256 is not None else [])
        reach = Reach(_ids((*references.names_of_file(record), *content)), expires_ms=record.expires_ms or 0)
        if record.deleted:
            if not await self._deleted_lately(entry):
                return
        elif not await expire_file(self._collection, record, stored.version):
            await self._learn_record(entry, reach)
        await self._follow(reach)

    async def _cached(self, entry: Listed) -> None:
        """What a cache names is needed; also when the entry is old, and goes in this collection."""
        reach = self._known_record(entry)
        if reach is None:
            try:
                data = (await self._store.get(entry.key)).data
            except NotFound:
                return
            reach = Reach(_ids(self._keys_of(await cached_blobs(self._blobs, entry.key, data))))
            await self._learn_record(entry, reach)
        if entry.modified_ms is None or entry.modified_ms >= self._collection.before(
            self._collection.retention.cache_ttl_s
        ):
            self.live.add([entry.key])
        await self._follow(reach)

    def _known_record(self, entry: Listed) -> Reach | None:
        """What a record needs, if an earlier collection has read it as it is, and its time is not over."""
        reach = self._known.get(_record_name(entry)) if self._settled(entry) else None
        if reach is None or is_past(reach, self.tenant, self._collection.retention, self._collection.now_ms()):
            return None
        return reach

    async def _learn_record(self, entry: Listed, reach: Reach) -> None:
        if self._settled(entry):
            await self._learn(_record_name(entry), reach)

    async def _learn(self, name: bytes, reach: Reach) -> None:
        """Nothing is written once something was damaged: of a later version's not all that it needs is known."""
        self._known.learn(name, reach)
        if not self.damaged and not self._collection.dry_run:
            await self._known.keep()

    def _settled(self, entry: Listed) -> bool:
        return entry.modified_ms is not None and entry.modified_ms < self.before_ms

    async def _deleted_lately(self, entry: Listed) -> bool:
        """Whether a tombstone is younger than the margin: until then, whoever saw the living record may name its parts.

        It may be younger than it was listed, for the listing may have seen the living record.
        """
        if entry.modified_ms is None or entry.modified_ms >= self.before_ms:
            return True
        now = await self._store.stat(entry.key)
        return now is not None and not is_old(now, self.before_ms)

    # ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _follow(self, reach: Reach) -> None:
        """All that it needs, and all that this leads to, up to what is marked."""
        self.live.add_ids(reach.needs)
        names = list(reach.leads_to)
        while names:
            name = names.pop()  # exact: two that are mixed up here would cost the one its parents
            found, met = self._known.meet(name)
            if met or name in self._unknown:
                continue
            found = found or await self._read(name)
            self.live.add_ids(found.needs)
            names += found.leads_to

    async def _read(self, name: bytes) -> Reach:
        """What a manifest or page needs, from the store."""
        self._unknown.add(name)
        kind, digest = name[:1], name[1:].hex()
        key = keys.segment(self.tenant, digest) if kind == _SEGMENT else keys.page(self.tenant, digest)
        try:
            reach = await (self._segment(key, digest) if kind == _SEGMENT else self._page(key, digest))
        except (NotFound, Corrupt) as error:
            self._damage(key, error.message)
            return Reach(id_of(key))
        await self._learn(name, reach)
        self._unknown.remove(name)
        return reach

    async def _segment(self, key: str, digest: str) -> Reach:
        manifest = await self._segments.get(digest)
        self._may_need_more(key, manifest)
        names = [_SEGMENT + bytes.fromhex(manifest.parent)] if manifest.parent is not None else []
        if manifest.earlier is not None and manifest.earlier.page is not None:
            names.append(_PAGE + bytes.fromhex(manifest.earlier.page))
        return Reach(_ids((key, *self._keys_of(set(references.blobs_of_segment(manifest))))), tuple(names))

    async def _page(self, key: str, digest: str) -> Reach:
        page = await self._segments.page(digest)
        self._may_need_more(key, page)
        return Reach(id_of(key), (_PAGE + bytes.fromhex(page.before),) if page.before is not None else ())

    def _may_need_more(self, key: str, record: Stored) -> bool:
        """Whether a later version wrote of something that this one does not know: it may name what must stay."""
        unknown = ", ".join(record.unknown())
        if unknown:
            self._damage(key, f"it is of a later version, whose collector must follow {unknown}")
        return bool(unknown)

    def _keys_of(self, blobs: Iterable[str]) -> list[str]:
        return [keys.blob(self.tenant, digest) for digest in blobs]

    def _damage(self, key: str, why: str) -> None:
        self._collection.report.damage(Damage(self.tenant, key, why), first=not self.damaged)
        self.damaged = True


def _ids(needed: Iterable[str]) -> bytes:
    return b"".join(map(id_of, needed))


def _record_name(entry: Listed) -> bytes:
    return _RECORD + hashlib.sha256(f"{entry.key} {entry.size} {entry.modified_ms}".encode()).digest()


async def cached_blobs(blobs: Blobs, key: str, data: bytes) -> list[str]:
    """Digests of all that a cache's entry leads to: its blob, and the latents that an encoded picture names."""
    digest = digest_in(data)
    if digest is None:  # nobody can use it
        return []
    if keys.kind_of_cached(key) in ("text", "path"):
        return [digest]
    try:
        picture = EncodedPicture.model_validate_json(await blobs.get(digest))
    except (NotFound, Corrupt, ValidationError):  # it is lost or of another kind, and then leads nowhere
        return [digest]
    return [digest, picture.latent.blob]
