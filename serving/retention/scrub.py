"""Scrub: read blobs and manifests again, and tell which do not match their digests, and whose they are.

`longtake scrub` runs it. It changes nothing: bytes that have changed come back from a copy of the store alone. A full
scrub also finds what a living video needs and the store does not have.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from serving.errors import Corrupt, NotFound
from serving.jobs.record import JobRecord, JobState
from serving.retention import references
from serving.retention.collect import tenants
from serving.retention.context import chunks, together
from serving.retention.key_set import KeySet
from serving.segments.lineage import Segments
from serving.store import keys
from serving.store.base import Listed, Store

_PIECE = 4 * 1024 * 1024
_CONTENT = (keys.segments_of, keys.pages_of, keys.blobs_of)


@dataclass
class Finding:
    """A key whose bytes are wrong, or not there."""

    tenant: str
    key: str
    why: str
    videos: list[str] = field(default_factory=list)
    """Ids of the living videos that need it."""


@dataclass
class ScrubReport:
    """One scrub."""

    checked: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


class Scrub:
    """One scrub. With a `limit` it reads so many keys, from a random place on: many of them meet them all."""

    def __init__(
        self,
        store: Store,
        *,
        limit: int | None = None,
        on_progress: Callable[[ScrubReport], None] = lambda _: None,
        start: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        """`start` makes the digest at which a limited scrub begins."""
        self._store = store
        self._limit = limit
        self._on_progress = on_progress
        self._start = start() if limit is not None else ""
        self.report = ScrubReport()

    async def run(self) -> ScrubReport:
        """Read. Raises `Unavailable` when the store goes away."""
        found = sorted([tenant async for tenant in tenants(self._store)])
        turn = int(self._start[:8], 16) % len(found) if self._start and found else 0
        for tenant in found[turn:] + found[:turn]:
            if self._left != 0:
                await self._tenant(tenant)
        return self.report

    async def _tenant(self, tenant: str) -> None:
        present = KeySet()
        wrong: dict[str, Finding] = {}
        for prefix_of in _CONTENT:
            async for chunk in chunks(self._keys(prefix_of(tenant))):
                taken = chunk[: self._left]
                for finding in await together(self._check(tenant, entry) for entry in taken):
                    if finding is not None:
                        wrong[finding.key] = finding
                present.add(entry.key for entry in taken)
                self._on_progress(self.report)
                if self._left == 0:
                    break
        if wrong or self._limit is None:
            await Owners(self._store, tenant, wrong, present if self._limit is None else None).find()
        self.report.findings += sorted(wrong.values(), key=lambda finding: finding.key)

    @property
    def _left(self) -> int | None:
        return None if self._limit is None else max(0, self._limit - self.report.checked)

    async def _keys(self, prefix: str) -> AsyncIterator[Listed]:
        """All our keys of a folder, those from the start on first. A stray among them has no digest to check."""
        async for entry in self._store.list(prefix, after=prefix + self._start if self._start else ""):
            if keys.is_ours(entry.key):
                yield entry
        if self._start:
            async for entry in self._store.list(prefix):
                if entry.key > prefix + self._start:
                    return
                if keys.is_ours(entry.key):
                    yield entry

    async def _check(self, tenant: str, entry: Listed) -> Finding | None:
        try:
            digest = await self._digest(entry)
        except NotFound:  # collected while we looked
            return None
        self.report.checked += 1
        self.report.bytes += entry.size
        if digest == keys.name_of(entry.key):
            return None
        return Finding(tenant, entry.key, "its bytes do not match its digest")

    async def _digest(self, entry: Listed) -> str:
        hashed, at = hashlib.sha256(), 0
        while piece := await self._store.get_range(entry.key, at, _PIECE):
            hashed.update(piece)
            at += len(piece)
        return hashed.hexdigest()


class Owners:
    """Which living videos of a tenant need what is wrong; and what they need and is not there."""

    def __init__(self, store: Store, tenant: str, wrong: dict[str, Finding], present: KeySet | None) -> None:
        """`present`: all keys that there are, to find missing ones; None to leave that."""
        self._store = store
        self._tenant = tenant
        self._wrong = wrong
        self._present = present
        self._segments = Segments(store, tenant)
        self._of_segment: dict[str, frozenset[str]] = {}
        """Manifest → what is wrong on its path: bounded by the tenant's segments, and most of them have none."""
        self._of_page: dict[str, frozenset[str]] = {}
        """The same of pages."""

    async def find(self) -> None:
        """Fill in the findings."""
        async for entry in self._store.list(keys.jobs_of(self._tenant)):
            if not keys.is_ours(entry.key):
                continue
            try:
                record = JobRecord.decode((await self._store.get(entry.key)).data)
            except NotFound:
                continue
            except ValidationError:
                self._wrong[entry.key] = Finding(self._tenant, entry.key, "this version cannot read the record")
                continue
            if record.state is not JobState.DELETED:
                for key in await self._needs(record):
                    self._wrong[key].videos.append(record.id)

    async def _needs(self, record: JobRecord) -> list[str]:
        """Keys that are wrong and that this video needs."""
        found: set[str] = set()
        for digest in references.blobs_of_job(record):
            found |= await self._seen(keys.blob(self._tenant, digest))
        for digest in references.segments_of_job(record):
            found |= await self._path(digest)
        return sorted(found)

    async def _path(self, head: str) -> frozenset[str]:
        """What is wrong from this segment up to the root."""
        path: list[tuple[str, frozenset[str]]] = []
        digest: str | None = head
        while digest is not None and digest not in self._of_segment:
            key = keys.segment(self._tenant, digest)
            own = await self._seen(key)
            parent = None
            if not own:
                try:
                    manifest = await self._segments.get(digest)
                except (NotFound, Corrupt) as error:
                    self._wrong.setdefault(key, Finding(self._tenant, key, f"it cannot be read: {error.message}"))
                    own = frozenset([key])
                else:
                    parent = manifest.parent
                    own |= await self._pages(manifest.earlier.page if manifest.earlier else None)
                    for blob in set(references.blobs_of_segment(manifest)):
                        own |= await self._seen(keys.blob(self._tenant, blob))
            path.append((digest, own))
            digest = parent
        wrong = self._of_segment[digest] if digest is not None else frozenset()
        for walked, own in reversed(path):
            wrong |= own
            self._of_segment[walked] = wrong
        return wrong

    async def _pages(self, newest: str | None) -> frozenset[str]:
        """What is wrong among a page and those before it."""
        read: list[str] = []
        wrong: frozenset[str] = frozenset()
        digest = newest
        while digest is not None and digest not in self._of_page and not wrong:
            key = keys.page(self._tenant, digest)
            read.append(digest)
            wrong = await self._seen(key)
            if not wrong:
                try:
                    digest = (await self._segments.page(digest)).before
                except (NotFound, Corrupt) as error:
                    self._wrong.setdefault(key, Finding(self._tenant, key, f"it cannot be read: {error.message}"))
                    wrong = frozenset([key])
        if digest in self._of_page:
            wrong |= self._of_page[digest]
        self._of_page.update(dict.fromkeys(read, wrong))
        return wrong

    async def _seen(self, key: str) -> frozenset[str]:
        """The key, if it is wrong or not there."""
        if key not in self._wrong:
            if self._present is None or key in self._present or await self._exists(key):
                return frozenset()
            self._wrong[key] = Finding(self._tenant, key, "it is not there")
        return frozenset([key])

    async def _exists(self, key: str) -> bool:
        """It may be younger than the listing."""
        try:
            await self._store.get_range(key, 0, 1)
        except NotFound:
            return False
        return True
