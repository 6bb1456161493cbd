"""Content-addressed bytes of one tenant, and the cache that finds them by what they were computed from.

Blobs are immutable, and verified on every whole read. The cache holds digests of what was computed once of a content.
A blob that nothing names is removed when it is old (`retention/collect.py`), so bytes that are there already are made
young again before their digest is handed out, and a sweep that runs at this moment is waited for (`sweeping.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from serving.errors import Conflict, Corrupt, NotFound
from serving.store import keys, sweeping
from serving.store.base import Store

_DIGEST = re.compile(rb"[0-9a-f]{64}")


class Blobs:
    """One tenant's blobs. Every stage, the front door and the Director use it; nobody sees another tenant's."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def put(self, data: bytes | Path) -> str:
        """Keep the bytes (a Path is streamed); their SHA-256 in hex. Equal bytes are kept once."""
        return await self._put(data, self._renew)

    async def put_computed(self, data: bytes) -> str:
        """`put`, for what can be computed again. Who does that may have found the blob broken: other bytes than these
        are overwritten, or it would stay so for ever."""
        return await self._put(data, partial(self._mend, data))

    async def keep(self, digest: str) -> bool:
        """Make a blob young again before its digest is named anew; False when it is gone."""
        key = self._key(digest)
        while await self._renew(key):
            if await sweeping.undisturbed(self._store, key):
                return True
        return False

    async def get(self, digest: str) -> bytes:
        """The bytes. Raises `NotFound`, or `Corrupt` when they do not match their digest."""
        data = (await self._store.get(self._key(digest))).data
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"blob {digest} holds other bytes than its name says: restore it from a copy of the store")
        return data

    async def get_range(self, digest: str, start: int, length: int) -> bytes:
        """Some of the bytes, unverified. Raises `NotFound`."""
        return await self._store.get_range(self._key(digest), start, length)

    async def size(self, digest: str) -> int:
        """How many bytes. Raises `NotFound`."""
        entry = await self._store.stat(self._key(digest))
        if entry is None:
            raise NotFound(f"no blob {digest}")
        return entry.size

    async def cache_get(self, kind: str, key: str) -> str | None:
        """The digest that was cached for this content, or None. It is a hint: what cannot be read is none."""
        try:
            return digest_in((await self._store.get(self._cache_key(kind, key))).data)
        except NotFound:
            return None

    async def cache_put(self, kind: str, key: str, digest: str) -> None:
        """Remember a digest, instead of one that is there: who computed this found that one of no use."""
        place, said = self._cache_key(kind, key), digest.encode()
        if await self._store.put_if_absent(place, said):
            return
        with suppress(Conflict, NotFound):  # another one has just computed it too, or the cache was cleared
            there = await self._store.get(place)
            if there.data != said:
                await self._store.swap(place, said, there.version)

    async def _put(self, data: bytes | Path, if_there: Callable[[str], Awaitable[bool]]) -> str:
        digest = await digest_of(data)
        key = self._key(digest)
        while True:
            there = await self._store.put_if_absent(key, data) or await if_there(key)
            if there and await sweeping.undisturbed(self._store, key):
                return digest

    async def _mend(self, data: bytes, key: str) -> bool:
        """Make a blob young again, and what it was meant to be; False when it went meanwhile."""
        try:
            there = await self._store.get(key)
        except NotFound:
            return False
        if there.data != data:
            with suppress(Conflict, NotFound):  # then somebody else has mended it, or it is gone
                await self._store.swap(key, data, there.version)
        return await self._renew(key)

    async def _renew(self, key: str) -> bool:
        """Make a blob young again; False when it went meanwhile."""
        entry = await self._store.stat(key)
        if entry is None:
            return False
        if entry.modified_ms is None:  # the store tells no ages, so nothing is ever collected from it
            return True
        try:
            await self._store.touch(key)
        except NotFound:
            return False
        return True

    def _key(self, digest: str) -> str:
        return keys.blob(self._tenant, digest)

    def _cache_key(self, kind: str, key: str) -> str:
        return keys.cached(self._tenant, kind, key)


def digest_in(entry: bytes) -> str | None:
    """The digest that an entry of the cache holds; None when it holds anything else."""
    return entry.decode() if _DIGEST.fullmatch(entry) else None


async def digest_of(data: bytes | Path) -> str:
    """The name that these bytes have as a blob."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(_digest_of_file, data)


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
