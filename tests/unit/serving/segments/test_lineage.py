"""Lineage: manifests named by content, a path from the root in pages, one tenant's own."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.errors import Corrupt, NotFound
from serving.media.part import MediaPart
from serving.media.track import Track
from serving.requests import Codec
from serving.segments.lineage import Segments, shape_of
from serving.segments.manifest import Earlier, LatentRef, ManifestCanvas, SegmentManifest
from serving.segments.page import PAGE, STEP
from serving.store.base import Store, Versioned
from serving.store.directory import DirectoryStore
from serving.store.keys import kind_of
from tests.unit.serving.retention.clocked_store import IN_MEMORY

pytestmark = pytest.mark.anyio
BLOB = "b" * 64


def manifest(
    parent: SegmentManifest | None = None, seed: int = 1, earlier: Earlier | None = None, whole: bool = False
) -> SegmentManifest:
    """Of a segment behind `parent`. `whole`: as an earlier version wrote it, with the parts of the whole video."""
    latents = LatentRef(blob=BLOB, start=0, count=5)
    depth = parent.depth + 1 if parent else 0
    blob = hashlib.sha256(f"{depth} {seed}".encode()).hexdigest()
    part = MediaPart(
        blob=blob, size=100 + depth, fragment_sizes=(100 + depth,), fragment_frames=(16 if parent else 17,)
    )
    return SegmentManifest(
        kind="generated", tenant="a", video="vid_x", parent=parent.digest() if parent else None, depth=depth,
        model="sprite", model_digest="d", prompt="p", effective_prompt="p", seed=seed, steps=8,
        canvas=ManifestCanvas(aspect_ratio="1:1", height=96, width=96),
        track=Track(codec=Codec.AV1, width=480, height=480, fps=16),
        frames=16 if parent else 17, start_frame=parent.total_frames if parent else 0,
        latents=latents, anchor=latents, tail=latents, init=BLOB,
        parts=(*(parent.parts if parent and whole else ()), part), thumbnail=BLOB, earlier=earlier,
    )  # fmt: skip


async def grown(segments: Segments, parent: SegmentManifest | None, count: int, seed: int = 1) -> list[SegmentManifest]:
    """So many segments behind `parent`, committed."""
    made: list[SegmentManifest] = []
    for _ in range(count):
        parent = manifest(parent, seed, await segments.after(parent) if parent else None)
        await segments.commit(parent)
        made.append(parent)
    return made


class CountedStore(DirectoryStore):
    """Counts what is read and written of manifests and pages."""

    reads: Counter[str]
    moved: Counter[str]

    def reset(self) -> None:
        self.reads, self.moved = Counter(), Counter()

    async def get(self, key: str) -> Versioned:
        found = await super().get(key)
        if key.startswith("t/"):
            self.reads[kind_of(key)] += 1
            self.moved["read"] += len(found.data)
        return found

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        assert isinstance(data, bytes)
        self.moved["written"] += len(data)
        return await super().put_if_absent(key, data)


@pytest.fixture
async def store() -> AsyncIterator[CountedStore]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        store = CountedStore(Path(folder))
        await store.open()
        store.reset()
        yield store
        await store.close()


async def test_a_manifest_is_named_by_its_bytes_and_kept_once(store: Store) -> None:
    segments = Segments(store, "a")
    digest = await segments.commit(manifest())
    assert digest == await segments.commit(manifest()) == hashlib.sha256(manifest().encode()).hexdigest()
    assert await segments.get(digest) == manifest()


async def test_the_path_of_a_branch_runs_from_the_root_and_leaves_its_sibling_out(store: Store) -> None:
    segments = Segments(store, "a")
    (root,) = await grown(segments, None, 1)
    left = await grown(segments, root, 2, seed=2)
    (right,) = await grown(segments, root, 1, seed=3)
    assert [s.digest for s in await segments.path(left[-1])] == [m.digest() for m in (root, *left)]
    assert [s.digest for s in await segments.path(right)] == [root.digest(), right.digest()]
    assert shape_of(left[-1]).total_frames == 17 + 2 * 16


async def test_a_path_in_pages_says_what_the_manifests_say(store: Store) -> None:
    segments = Segments(store, "a")
    made = await grown(segments, None, 2 * PAGE + STEP + 3)
    for head in (made[0], made[STEP - 1], made[STEP], made[STEP + 1], made[PAGE], made[-1]):
        path = await segments.path(head)
        assert [segment.digest for segment in path] == [m.digest() for m in made[: head.depth + 1]]
        said = [(s.parent, s.depth, s.start_frame, s.frames, s.blob, s.size) for s in path]
        assert said == [
            (m.parent, m.depth, m.start_frame, m.frames, m.parts[0].blob, m.parts[0].size)
            for m in made[: head.depth + 1]
        ]
        assert [part.blob for part in await segments.media(head)] == [segment.blob for segment in path]


async def test_branches_share_the_pages_of_what_they_share(store: Store) -> None:
    segments = Segments(store, "a")
    trunk = await grown(segments, None, PAGE + 5)
    shared = {key.key async for key in store.list("t/a/pages/")}
    fork = trunk[PAGE - 10]
    branch = await grown(segments, fork, 3 * STEP, seed=9)
    path = await segments.path(branch[-1])
    assert [s.digest for s in path] == [m.digest() for m in (*trunk[: PAGE - 9], *branch)]
    assert [s.digest for s in await segments.path(trunk[-1])] == [m.digest() for m in trunk]
    assert {key.key async for key in store.list("t/a/pages/")} > shared


async def test_an_hour_is_read_in_few_reads_and_costs_an_extension_nothing(store: CountedStore) -> None:
    segments = Segments(store, "a")
    made = await grown(segments, None, STEP + 1)
    short = made[-1]
    store.reset()
    last = (await grown(segments, short, 2))[-1]
    brief = store.moved["written"]
    made += await grown(segments, last, 3600 - last.depth + STEP - 2)
    store.reset()
    long = await grown(segments, made[-1], 1)
    assert store.reads["segments"] == store.reads["pages"] == 0
    assert store.moved["written"] <= 1.1 * brief / 2
    store.reset()
    path = await segments.path(long[-1])
    assert len(path) == long[-1].depth + 1 > 3600
    assert sum(store.reads.values()) <= 100


async def test_a_video_of_an_earlier_version_is_read_and_extended(store: Store) -> None:
    segments = Segments(store, "a")
    old: list[SegmentManifest] = []
    for _ in range(STEP + 5):
        old.append(manifest(old[-1] if old else None, whole=True))
        await segments.commit(old[-1])
    assert "earlier" not in old[-1].encode().decode(), "its bytes are as they were"
    new = await grown(segments, old[-1], PAGE + STEP)
    for head in (old[-1], new[0], new[STEP], new[-1]):
        want = [m.digest() for m in (*old, *new)][: head.depth + 1]
        assert [segment.digest for segment in await segments.path(head)] == want
        parts = [m.parts[-1].blob for m in (*old, *new)][: head.depth + 1]
        assert [part.blob for part in await segments.media(head)] == parts
        assert head.fragments == head.depth + 1
    assert len(new[-1].encode()) < len(old[-1].encode()) / 2


async def test_a_missing_parent_another_tenant_and_damage_are_told_apart(store: Store) -> None:
    segments = Segments(store, "a")
    lost = manifest()
    orphan = manifest(lost, earlier=Earlier(fragments=1, paged=0, page=None))
    with pytest.raises(NotFound, match=lost.digest()):
        await segments.path(orphan)
    await segments.commit(orphan)
    with pytest.raises(NotFound):
        await Segments(store, "b").get(orphan.digest())
    await store.put_if_absent(f"t/a/segments/{'f' * 64}", manifest().encode())
    with pytest.raises(Corrupt, match="f" * 64):
        await segments.get("f" * 64)


async def test_what_a_later_version_wrote_is_refused_by_name(store: Store) -> None:
    later = manifest().encode().replace(b'{"kind"', b'{"chapters":[],"kind"')
    digest = hashlib.sha256(later).hexdigest()
    await store.put_if_absent(f"t/a/segments/{digest}", later)
    with pytest.raises(Corrupt, match=r"cannot be read by this version \(chapters.*run the one that wrote it"):
        await Segments(store, "a").get(digest)
