"""Lineage: manifests named by content, a path from the root, one tenant's own."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.errors import Corrupt, NotFound
from serving.media.track import Track
from serving.requests import Codec
from serving.segments.lineage import Segments, shape_of
from serving.segments.manifest import LatentRef, ManifestCanvas, SegmentManifest
from serving.store.base import Store
from serving.store.open import open_store

pytestmark = pytest.mark.anyio
BLOB = "b" * 64


def manifest(parent: str | None = None, depth: int = 0, seed: int = 1) -> SegmentManifest:
    latents = LatentRef(blob=BLOB, start=0, count=5)
    return SegmentManifest(
        kind="generated", tenant="a", video="vid_x", parent=parent, depth=depth, model="sprite", model_digest="d",
        prompt="p", effective_prompt="p", seed=seed, steps=8,
        canvas=ManifestCanvas(aspect_ratio="1:1", height=96, width=96),
        track=Track(codec=Codec.AV1, width=480, height=480, fps=16),
        frames=16 if parent else 17, start_frame=17 + 16 * (depth - 1) if parent else 0,
        latents=latents, anchor=latents, tail=latents, init=BLOB, parts=(), thumbnail=BLOB,
    )  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(str(tmp_path), probe=False)
    yield store
    await store.close()


async def test_a_manifest_is_named_by_its_bytes_and_kept_once(store: Store) -> None:
    segments = Segments(store, "a")
    digest = await segments.commit(manifest())
    assert digest == await segments.commit(manifest()) == hashlib.sha256(manifest().encode()).hexdigest()
    assert await segments.get(digest) == manifest()


async def test_the_path_of_a_branch_runs_from_the_root_and_leaves_its_sibling_out(store: Store) -> None:
    segments = Segments(store, "a")
    root = await segments.commit(manifest())
    left = await segments.commit(manifest(root, 1, seed=2))
    right = await segments.commit(manifest(root, 1, seed=3))
    head = await segments.commit(manifest(left, 2))
    assert [(m.depth, m.seed) for m in await segments.path(head)] == [(0, 1), (1, 2), (2, 1)]
    assert [m.seed for m in await segments.path(right)] == [1, 3]
    assert shape_of(await segments.get(head)).total_frames == 17 + 2 * 16


async def test_a_missing_parent_another_tenant_and_damage_are_told_apart(store: Store) -> None:
    segments = Segments(store, "a")
    orphan = await segments.commit(manifest("e" * 64, 1))
    with pytest.raises(NotFound, match="e" * 64):
        await segments.path(orphan)
    with pytest.raises(NotFound):
        await Segments(store, "b").get(orphan)
    await store.put_if_absent(f"t/a/segments/{'f' * 64}", manifest().encode())
    with pytest.raises(Corrupt, match="f" * 64):
        await segments.get("f" * 64)
