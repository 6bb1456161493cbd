"""Sweep: list what there is, kind by kind, and delete what is old and not marked. `collect.py` says why that is safe.

Names go first, then segments, then blobs, then tombstones, so that an interrupted sweep leaves garbage and no hole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from engines.objects import BLOBS, ENGINES, MODELS
from serving.errors import NotFound
from serving.files.record import FileRecord
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import SENT_ONCE
from serving.retention.context import Collection, chunks, is_old, together
from serving.retention.engine_blobs import PUBLISHED_WITHIN_S, claims, needed_blobs, needed_files
from serving.retention.key_set import KeySet
from serving.retention.mark import Mark, cached_blobs
from serving.store import keys, sweeping
from serving.store.base import Listed
from serving.store.blobs import Blobs

KEY_HOLDS_S = 7 * 86_400
"""An idempotency key answers for so long after its video was deleted; so long stays what an id of it may still need."""


class Fate(Enum):
    """What becomes of an old key that is not marked."""

    GARBAGE = "garbage"
    HELD = "held"
    """It is needed after all."""
    YOUNG = "young"
    """It is of a kind that has to be older."""


Judge = Callable[[Listed], Awaitable[Fate]]


async def _garbage(_: Listed) -> Fate:
    return Fate.GARBAGE


@dataclass(frozen=True)
class Kind:
    """One kind of key."""

    name: str
    prefix: str
    before_ms: int
    live: Callable[[str], bool]
    judge: Judge = _garbage
    prepare: Callable[[Listed], Awaitable[None]] | None = None
    """Done before a key is deleted."""
    announced: bool = False
    """Somebody may write the same key again at this moment."""
    listed: Callable[[], AsyncIterator[Listed]] | None = None
    """All of this kind, where not all of ours with the prefix are."""


async def _fate(kind: Kind, entry: Listed) -> Fate:
    try:
        return await kind.judge(entry)
    except NotFound:  # another collector was faster
        return Fate.HELD
    except (ValueError, LookupError, TypeError):  # it cannot be read, and might be needed
        return Fate.HELD


class Sweep:
    """Of one collection."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._store = collection.store

    async def tenant(self, mark: Mark) -> None:
        """Everything of a tenant that was marked."""
        for kind in TenantKinds(self._collection, mark).all():
            await self._sweep(kind)

    async def installation(self) -> None:
        """What belongs to no tenant: index keys and leases of jobs that have ended, what a probe left behind, bytes of
        engines that no manifest names, claims of builds that have ended, and files of models that were removed."""
        before = self._collection.before(self._collection.retention.margin_s)
        waiting = KeySet()
        # Before the leases: a job that comes later has a young lease.
        async for entry in self._collection.listed(keys.ACTIVE):
            name = keys.read_active(entry.key)
            if name is not None:
                waiting.add([name.job])
        await self._sweep(Kind("lists", keys.ACTIVE, before, _never, self._judge_active))
        await self._sweep(Kind("leases", keys.LEASES, before, lambda key: keys.job_of_lease(key) in waiting))
        await self._sweep(Kind("leftovers", keys.PROBES, before, _never))
        await self._engines()

    async def _engines(self) -> None:
        before = self._collection.before(max(self._collection.retention.margin_s, PUBLISHED_WITHIN_S))
        building = partial(claims, self._collection)
        await self._sweep(Kind("claims", ENGINES, before, _never, announced=True, listed=building))
        needed = await needed_blobs(self._collection)
        if needed is not None:
            await self._sweep(Kind("engines", BLOBS, before, needed.__contains__, announced=True))
        named = await needed_files(self._collection)
        if named is not None:

            def live(key: str) -> bool:
                return keys.name_of(key) == "record.json" or key.rpartition("-")[2] in named

            await self._sweep(Kind("models", MODELS, before, live, announced=True))

    async def _sweep(self, kind: Kind) -> None:
        counts, seen = self._collection.report.of(kind.name), 0
        async for chunk in chunks(kind.listed() if kind.listed else self._collection.listed(kind.prefix)):
            suspects = []
            for entry in chunk:
                if kind.live(entry.key):
                    counts.live.add(entry)
                elif entry.modified_ms is None or entry.modified_ms >= kind.before_ms:
                    counts.young.add(entry)
                else:
                    suspects.append(entry)
            fates = await together(_fate(kind, entry) for entry in suspects)
            for entry, fate in zip(suspects, fates, strict=True):
                if fate is not Fate.GARBAGE:
                    (counts.live if fate is Fate.HELD else counts.young).add(entry)
            doomed = [entry for entry, fate in zip(suspects, fates, strict=True) if fate is Fate.GARBAGE]
            await self._collect(kind, doomed)
            seen += len(chunk)
            self._collection.on_progress(f"sweeping {kind.prefix}", seen)

    async def _collect(self, kind: Kind, doomed: Sequence[Listed]) -> None:
        counts = self._collection.report.of(kind.name)
        if doomed and not self._collection.dry_run:
            if kind.prepare is not None:
                await together(kind.prepare(entry) for entry in doomed)
            # A batch that has begun is ended, also when the collection is interrupted.
            batch = asyncio.ensure_future(self._delete(kind, doomed))
            try:
                doomed = await asyncio.shield(batch)
            except asyncio.CancelledError:
                await batch
                raise
        for entry in doomed:
            counts.collected.add(entry)

    async def _delete(self, kind: Kind, doomed: Sequence[Listed]) -> Sequence[Listed]:
        """Delete a batch; what was deleted of it."""
        if not kind.announced:
            await together(self._store.delete(entry.key) for entry in doomed)
            return doomed
        async with sweeping.announced(self._store, [entry.key for entry in doomed]) as by_ms:
            still = await self._still_old(kind, doomed)
            await together(self._store.delete(entry.key, by_ms=by_ms) for entry in still)
        renewed = {entry.key for entry in doomed} - {entry.key for entry in still}
        for entry in doomed:
            if entry.key in renewed:
                self._collection.report.of(kind.name).young.add(entry)
        return still

    async def _still_old(self, kind: Kind, doomed: Sequence[Listed]) -> list[Listed]:
        """Look again, after the announcement: those that nobody has touched meanwhile. At each by itself: a listing of
        a directory reads all of its names, whatever is wanted of them."""
        found = await together(self._store.stat(entry.key) for entry in doomed)
        return [entry for entry in found if entry is not None and is_old(entry, kind.before_ms)]

    async def _judge_active(self, entry: Listed) -> Fate:
        """A job's key on the active list outlives the job only by a crash."""
        name = keys.read_active(entry.key)
        if name is None:  # not ours to judge
            return Fate.HELD
        try:
            record = JobRecord.decode((await self._store.get(keys.job(name.tenant, name.job))).data)
        except NotFound:
            # A create that died before its record. Sent again with the same idempotency key, it uses this very key.
            if (await self._store.get(entry.key)).data == SENT_ONCE:
                return Fate.GARBAGE
            return after_its_key(self._collection, entry)
        return Fate.GARBAGE if record.state.terminal else Fate.HELD


def after_its_key(collection: Collection, entry: Listed) -> Fate:
    """Garbage once no idempotency key leads there any more."""
    old = entry.modified_ms is not None and entry.modified_ms < collection.before(KEY_HOLDS_S)
    return Fate.GARBAGE if old else Fate.YOUNG


class TenantKinds:
    """The kinds of one tenant's keys, and what is garbage among them."""

    def __init__(self, collection: Collection, mark: Mark) -> None:
        self._collection = collection
        self._store = collection.store
        self._mark = mark
        self._blobs = Blobs(collection.store, mark.tenant)

    def all(self) -> tuple[Kind, ...]:
        """In the order in which they are swept."""
        mark, tenant = self._mark, self._mark.tenant
        before, content, live = mark.before_ms, mark.content_before_ms, mark.live.__contains__
        return (
            Kind("lists", keys.jobs_by_time_of(tenant), before, live),
            Kind("lists", keys.files_by_time_of(tenant), before, live),
            Kind("notes", keys.keep_notes_of(tenant), before, live),
            Kind("dead letters", keys.dead_letters_of(tenant), before, self._is_of_living_job),
            # Writing a checkpoint removes older ones; here go those of jobs that have ended.
            Kind("checkpoints", keys.checkpoints_of(tenant), before, self._is_of_unfinished_job),
            Kind("caches", keys.caches_of(tenant), before, live, prepare=self._renew_cached),
            Kind("segments", keys.segments_of(tenant), content, live, announced=True),
            Kind("pages", keys.pages_of(tenant), content, live, announced=True),
            Kind("blobs", keys.blobs_of(tenant), content, live, announced=True),
            Kind("files", keys.files_of(tenant), before, live, self._judge_file),
            Kind("videos", keys.jobs_of(tenant), before, live, self._judge_job),
            Kind("quarantine", keys.quarantine_of(tenant), before, _never, self._judge_quarantine),
        )

    def _is_of_living_job(self, key: str) -> bool:
        return keys.job(self._mark.tenant, keys.name_of(key)) in self._mark.live

    def _is_of_unfinished_job(self, key: str) -> bool:
        return keys.job_of_checkpoint(key) in self._mark.unfinished

    async def _renew_cached(self, entry: Listed) -> None:
        """Make young what a cache's entry leads to: an attempt that found it there a moment ago has a margin's time."""
        try:
            data = (await self._store.get(entry.key)).data
        except NotFound:
            return
        for blob in await cached_blobs(self._blobs, entry.key, data):
            with contextlib.suppress(NotFound):
                await self._store.touch(keys.blob(self._mark.tenant, blob))

    async def _judge_file(self, entry: Listed) -> Fate:
        """Only tombstones are not marked."""
        record = FileRecord.model_validate_json((await self._store.get(entry.key)).data)
        return Fate.GARBAGE if record.deleted else Fate.HELD

    async def _judge_job(self, entry: Listed) -> Fate:
        """A tombstone goes when nothing descends from its segments, and no create leads to its id any more."""
        record = JobRecord.decode((await self._store.get(entry.key)).data)
        if record.state is not JobState.DELETED:
            return Fate.HELD
        if any(keys.segment(record.tenant, digest) in self._mark.live for digest in record.segments):
            return Fate.HELD
        return after_its_key(self._collection, entry) if record.may_come_again else Fate.GARBAGE

    async def _judge_quarantine(self, entry: Listed) -> Fate:
        """It stands as long as the job that showed it is known: until then an operator can lift it."""
        job = json.loads((await self._store.get(entry.key)).data)["job"]
        try:
            await self._store.get(keys.job(self._mark.tenant, job))
        except NotFound:
            return after_its_key(self._collection, entry)
        return Fate.HELD


def _never(_: str) -> bool:
    return False
