"""What the counting store and recorder add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.counting import CountingStore, Sums, kind_of
from serving.metrics import RENDER_SECONDS, STEPS_DONE
from serving.store.blobs import Blobs
from serving.store.open import open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_bytes_are_counted_where_they_move(tmp_path: Path) -> None:
    store = CountingStore(await open_store(str(tmp_path), probe=False))
    blobs = Blobs(store, "studio")

    digest = await blobs.put(b"twelve bytes")
    await blobs.put(b"twelve bytes")  # is there already
    await blobs.get(digest)
    await blobs.get_range(digest, 0, 3)

    key = f"t/studio/blobs/{digest}"
    assert (dict(store.written), dict(store.read)) == ({key: 12}, {key: 15})
    assert dict(store.calls) == {"put": 2, "stat": 1, "touch": 1, "get": 2}
    store.reset()
    assert not store.read
    assert not store.calls


@pytest.mark.parametrize(
    ("key", "want_kind"), [("t/studio/jobs/vid_1", "jobs"), ("active/0a/studio/5/1/vid_1", "active"), ("x", "x")]
)
def test_a_key_names_its_kind(key: str, want_kind: str) -> None:
    assert kind_of(key) == want_kind


def test_sums_are_kept_by_label() -> None:
    sums = Sums()
    sums.observe(RENDER_SECONDS, 0.5, part="decode")
    sums.observe(RENDER_SECONDS, 0.25, part="decode")
    sums.add(STEPS_DONE)

    assert sums.of(RENDER_SECONDS, "decode") == 0.75
    assert sums.of(RENDER_SECONDS, "encode") == 0
    assert sums.of(STEPS_DONE) == 1
