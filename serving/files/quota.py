"""How many bytes a tenant has in the store, and whether more may come. `repository.py` asks for uploads, the front
door's gate for videos, and its intake puts pictures and films through here.

What lies under a tenant's digests is listed now and then, and only where a quota is set; in between this process counts
what it takes in. So other front doors' uploads are seen at the next listing, and what was deleted when the collector
has freed it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from serving.errors import ResourceExhausted
from serving.store import keys
from serving.store.base import Store
from serving.store.blobs import Blobs, digest_of

INTERVAL_S = 60.0
SHARE = 20.0
"""A listing is repeated after at least so many times what it took."""


@dataclass
class _Counted:
    """What one tenant has."""

    stored: int
    again_at: float


class Reserved:
    """Bytes that are on their way in."""

    def __init__(self, take: Callable[[int], None]) -> None:
        self._take = take
        self.size = 0

    def grow(self, size: int) -> None:
        """So many more. Raises `ResourceExhausted`."""
        self._take(size)
        self.size += size


class Quota:
    """Of all tenants; one per front-door process."""

    def __init__(
        self, store: Store, limit_of: Callable[[str], int | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`limit_of`: bytes that a tenant may have; None: as many as the store takes."""
        self._store = store
        self._limit_of = limit_of
        self._clock = clock
        self._counted: dict[str, _Counted] = {}
        self._coming: Counter[str] = Counter()
        self._listing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of each tenant that is listed now: a large one keeps no other waiting."""

    async def check(self, tenant: str) -> None:
        """Raises `ResourceExhausted` for a tenant that has all that it may have. To be asked before `reserved`."""
        await self._look(tenant)
        self._refuse_above(tenant, 1)

    @contextmanager
    def reserved(self, tenant: str) -> Iterator[Reserved]:
        """Count bytes while they come in. They stay counted, but for those of a block that raises."""
        reserved = Reserved(lambda size: self._take(tenant, size))
        try:
            yield reserved
            if tenant in self._counted:
                self._counted[tenant].stored += reserved.size
        finally:
            self._coming[tenant] -= reserved.size

    async def put(self, tenant: str, data: bytes | Path) -> str:
        """Keep what is whole already as a blob; its digest. Raises `ResourceExhausted`, but not for bytes that the
        tenant has there: they take no more room.
        """
        blobs = Blobs(self._store, tenant)
        if self._limit_of(tenant) is None:
            return await blobs.put(data)
        digest = await digest_of(data)
        if await blobs.keep(digest):
            return digest
        await self.check(tenant)
        with self.reserved(tenant) as reserved:
            reserved.grow(data.stat().st_size if isinstance(data, Path) else len(data))
            return await blobs.put(data)

    def _take(self, tenant: str, size: int) -> None:
        self._refuse_above(tenant, size)
        self._coming[tenant] += size

    def _refuse_above(self, tenant: str, size: int) -> None:
        limit, counted = self._limit_of(tenant), self._counted.get(tenant)
        if limit is None or counted is None or counted.stored + self._coming[tenant] + size <= limit:
            return
        raise ResourceExhausted(
            f"you have {counted.stored} bytes in the store, and {limit} are the most (setting "
            "`admission.max_stored_bytes`): delete videos and files that you need no more; the collector frees their "
            "space",
            retry_after_s=max(1.0, counted.again_at - self._clock()),
            reason="STORAGE_FULL",
        )

    async def _look(self, tenant: str) -> None:
        if self._limit_of(tenant) is None or self._is_known(tenant):
            return
        listing = self._listing.setdefault(tenant, asyncio.Lock())
        async with listing:
            if self._is_known(tenant):
                return
            began, stored = self._clock(), 0
            async for entry in self._store.list(keys.blobs_of(tenant)):
                stored += entry.size
            ended = self._clock()
            self._counted[tenant] = _Counted(stored, ended + max(INTERVAL_S, SHARE * (ended - began)))

    def _is_known(self, tenant: str) -> bool:
        counted = self._counted.get(tenant)
        return counted is not None and self._clock() < counted.again_at
