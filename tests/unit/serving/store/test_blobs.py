"""Blobs: named by their content, verified on reading, one tenant's own."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.counting import CountingStore
from serving.errors import Corrupt, NotFound
from serving.store.base import Store
from serving.store.blobs import Blobs
from serving.store.open import open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(str(tmp_path / "store"), probe=False)
    yield store
    await store.close()


async def test_bytes_and_files_are_kept_under_their_digest(store: Store, tmp_path: Path) -> None:
    blobs = Blobs(store, "a")
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    digest = await blobs.put(file)
    assert digest == hashlib.sha256(b"0123456789").hexdigest() == await blobs.put(b"0123456789")
    assert await blobs.get(digest) == b"0123456789"
    assert await blobs.get_range(digest, 2, 3) == b"234"
    assert await blobs.size(digest) == 10
    assert [entry.key async for entry in store.list("t/a/blobs/")] == [f"t/a/blobs/{digest}"]


async def test_bytes_that_are_there_are_found_without_a_listing(store: Store) -> None:
    counting = CountingStore(store)
    blobs = Blobs(counting, "a")
    digest = await blobs.put(b"x")
    assert await blobs.put(b"x") == digest
    assert await blobs.keep(digest)
    assert await blobs.size(digest) == 1
    assert counting.calls["list"] == 0


async def test_another_tenant_does_not_see_them(store: Store) -> None:
    digest = await Blobs(store, "a").put(b"x")
    other = Blobs(store, "b")
    for read in (other.get(digest), other.get_range(digest, 0, 1), other.size(digest)):
        with pytest.raises(NotFound):
            await read


async def test_damaged_bytes_are_never_returned(store: Store) -> None:
    digest = hashlib.sha256(b"good").hexdigest()
    await store.put_if_absent(f"t/a/blobs/{digest}", b"evil")
    with pytest.raises(Corrupt, match=digest):
        await Blobs(store, "a").get(digest)


async def test_the_cache_keeps_what_came_last_by_kind_and_key(store: Store) -> None:
    blobs = Blobs(store, "a")
    assert await blobs.cache_get("text", "k") is None
    await blobs.cache_put("text", "k", "1" * 64)
    await blobs.cache_put("text", "k", "2" * 64)
    assert await blobs.cache_get("text", "k") == "2" * 64
    assert await blobs.cache_get("image", "k") is None
    assert await Blobs(store, "b").cache_get("text", "k") is None


@pytest.mark.parametrize("entry", [b"", b"\xff", b"hello\n", b"1" * 63, b"1" * 64 + b"\n"])
async def test_an_entry_of_the_cache_that_holds_no_digest_is_none(store: Store, entry: bytes) -> None:
    blobs = Blobs(store, "a")
    await store.put_if_absent("t/a/cache/text/k", entry)
    assert await blobs.cache_get("text", "k") is None
