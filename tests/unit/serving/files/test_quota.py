"""Stored bytes are counted for each tenant by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from serving.errors import ResourceExhausted
from serving.files.quota import Quota
from serving.store import keys
from serving.store.base import Listed, Store
from serving.store.blobs import Blobs
from serving.store.directory import DirectoryStore

pytestmark = pytest.mark.anyio


class Crawling:
    """A store whose listing of one tenant's blobs comes to no end until it is let go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.listing = asyncio.Event()
        self.go = asyncio.Event()

    async def list(self, prefix: str, **more: Any) -> AsyncIterator[Listed]:
        if "slow" in prefix:
            self.listing.set()
            await self.go.wait()
        async for entry in self._store.list(prefix, **more):
            yield entry


async def test_what_is_put_at_once_stays_within_the_bound_and_equal_bytes_take_no_room(store: Store) -> None:
    quota = Quota(store, {"a": 2500, "b": None}.get)
    bodies = [bytes([number]) * 1000 for number in range(6)]
    said = await asyncio.gather(*(quota.put("a", body) for body in bodies), return_exceptions=True)
    kept = [body for body, one in zip(bodies, said, strict=True) if isinstance(one, str)]
    assert len(kept) == 2
    assert {type(one) for one in said if not isinstance(one, str)} == {ResourceExhausted}
    assert sum([entry.size async for entry in store.list(keys.blobs_of("a"))]) == 2000

    for body in kept:
        await quota.put("a", body)
    assert sum([entry.size async for entry in store.list(keys.blobs_of("a"))]) == 2000
    for body in bodies:
        await quota.put("b", body)


async def test_one_tenants_long_listing_keeps_no_other_waiting(tmp_path: Path) -> None:
    opened = DirectoryStore(tmp_path)
    await opened.open()
    await Blobs(opened, "slow").put(b"x" * 100)
    store = Crawling(opened)
    quota = Quota(cast(Store, store), lambda tenant: 100)
    slow = asyncio.ensure_future(quota.check("slow"))
    await store.listing.wait()

    async with asyncio.timeout(10):
        await quota.check("quick")
        await quota.check("quick")

    store.go.set()
    with pytest.raises(ResourceExhausted):
        await slow
    await opened.close()
