"""Lineage: manifests named by content, a path from the root by trails, one tenant's own, earlier versions' too."""

from __future__ import annotations

import base64
import hashlib
import tempfile
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from serving.errors import Corrupt, NotFound
from serving.jobs.ids import derived_id
from serving.media.part import MediaPart
from serving.media.track import Track
from serving.requests import Codec
from serving.segments.lineage import Segments, shape_of
from serving.segments.manifest import Earlier, LatentRef, ManifestCanvas, SegmentManifest
from serving.segments.older import PIECE
from serving.segments.page import Page
from serving.segments.path import PathSegment
from serving.segments.trail import PROMPT_BYTES, SEGMENTS, Trail
from serving.store.base import Store, Versioned
from serving.store.directory import DirectoryStore
from serving.store.keys import kind_of
from tests.unit.serving import later_version
from tests.unit.serving.retention.clocked_store import IN_MEMORY
from tests.unit.serving.segments.paged import PAGE, STEP, PagedSegments

pytestmark = pytest.mark.anyio
BLOB = "b" * 64


def manifest(
    parent: SegmentManifest | None = None,
    seed: int = 1,
    *,
    earlier: Earlier | None = None,
    trail: Trail | None = None,
    whole: bool = False,
    prompt: str = "p",
    video: str = "",
) -> SegmentManifest:
    """Of a segment behind `parent`. `whole`: as an earlier version wrote it, with the parts of the whole video."""
    latents = LatentRef(blob=BLOB, start=0, count=5)
    depth = parent.depth + 1 if parent else 0
    video = video or derived_id("vid_", "a", f"{depth} {seed}")
    blob = hashlib.sha256(f"{depth} {seed}".encode()).hexdigest()
    part = MediaPart(
        blob=blob, size=100 + depth, fragment_sizes=(100 + depth,), fragment_frames=(16 if parent else 17,)
    )
    return SegmentManifest(
        kind="generated" if parent else "ingested", tenant="a", video=video,
        parent=parent.digest() if parent else None, depth=depth,
        model="sprite", model_digest="d", prompt="p", effective_prompt=prompt, seed=seed, steps=8,
        canvas=ManifestCanvas(aspect_ratio="1:1", height=96, width=96),
        track=Track(codec=Codec.AV1, width=480, height=480, fps=16),
        frames=16 if parent else 17, start_frame=parent.total_frames if parent else 0,
        latents=latents, anchor=latents, tail=latents, init=BLOB,
        parts=(*(parent.parts if parent and whole else ()), part), thumbnail=BLOB, earlier=earlier, trail=trail,
    )  # fmt: skip


async def grown(
    segments: Segments,
    parent: SegmentManifest | None,
    count: int,
    seed: int = 1,
    prompt: Callable[[int], str] = lambda _: "p",
    video: str = "",
) -> list[SegmentManifest]:
    """So many segments behind `parent`, committed; `prompt` of each depth."""
    made: list[SegmentManifest] = []
    for _ in range(count):
        trail = parent.next_trail() if parent else None
        parent = manifest(parent, seed, trail=trail, prompt=prompt(parent.depth + 1 if parent else 0), video=video)
        await segments.commit(parent)
        made.append(parent)
    return made


async def grown_in_pages(segments: PagedSegments, parent: SegmentManifest | None, count: int) -> list[SegmentManifest]:
    """As the version before did it."""
    made: list[SegmentManifest] = []
    for _ in range(count):
        parent = manifest(parent, earlier=await segments.after(parent) if parent else None)
        await segments.commit(parent)
        made.append(parent)
    return made


async def grown_whole(segments: Segments, count: int) -> list[SegmentManifest]:
    """As the version did it that knew no pages."""
    made: list[SegmentManifest] = []
    for _ in range(count):
        made.append(manifest(made[-1] if made else None, whole=True))
        await segments.commit(made[-1])
    return made


def segment_of(manifest: SegmentManifest) -> PathSegment:
    return PathSegment.of(manifest.digest(), manifest)


class CountedStore(DirectoryStore):
    """Counts what is read and written of manifests, pages and all else of a tenant."""

    reads: Counter[str]
    moved: Counter[str]
    calls: Counter[str]

    def reset(self) -> None:
        self.reads, self.moved, self.calls = Counter(), Counter(), Counter()

    async def get(self, key: str) -> Versioned:
        found = await super().get(key)
        if key.startswith("t/"):
            self.reads[kind_of(key)] += 1
            self.calls["get"] += 1
            self.moved["read"] += len(found.data)
        return found

    async def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        assert isinstance(data, bytes)
        self.moved["written"] += len(data)
        self.calls["put"] += 1
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


@pytest.mark.parametrize(
    ("prompt", "video"),
    [
        (lambda _: "p", ""),
        (lambda depth: f"caption {depth // 5}", ""),
        (lambda depth: f"{depth} {'long ' * PROMPT_BYTES}", ""),
        (lambda _: "p", "vid_x"),
        (lambda _: "p", "a video of another name"),
    ],
    ids=["one caption", "many captions", "longer ones than a trail holds", "an odd id", "no id"],
)
async def test_any_stretch_of_a_path_says_what_the_manifests_say(
    store: Store, prompt: Callable[[int], str], video: str
) -> None:
    segments = Segments(store, "a")
    made = await grown(segments, None, 4 * SEGMENTS + 3, prompt=prompt, video=video)
    want = [segment_of(m) for m in made]
    for head in (0, 1, SEGMENTS - 1, SEGMENTS, SEGMENTS + 1, 2 * SEGMENTS, len(made) - 1):
        assert await segments.path(made[head]) == want[: head + 1]
        assert await segments.places(made[head]) == [segment.placed for segment in want[: head + 1]]
        assert [part.blob for part in await segments.media(made[head])] == [
            segment.blob for segment in want[: head + 1]
        ]
    places = (0, 1, SEGMENTS - 1, SEGMENTS, SEGMENTS + 1, 3 * SEGMENTS + 1, len(made) - 1, len(made))
    for start in places:
        for stop in places:
            assert await segments.path(made[-1], start, stop) == want[start:stop], (start, stop)


MORE = {"written": 4_000, "read": 8_000}
"""Bytes that an extension may move beyond the first one's: a tenth of what a small one moves in all, most of it latents
and media. `tests/unit/loadtests/test_studio.py` sees all of it.
"""


async def test_every_extension_of_an_hour_moves_at_most_a_tenth_more_than_the_first(store: CountedStore) -> None:
    segments = Segments(store, "a")
    parent = (await grown(segments, None, 1, prompt=_prompt))[0]
    first: dict[str, int] = {}
    for depth in range(1, 3600):
        store.reset()
        known = [await segments.get(parent.digest()) for _ in ("the front door", "the Director")]
        (parent,) = await grown(segments, known[0], 1, prompt=_prompt)
        assert (store.reads["segments"], store.reads["pages"], store.calls["put"]) == (2, 0, 1), depth
        first = first or dict(store.moved)
        for way, more in MORE.items():
            assert store.moved[way] <= first[way] + more, f"{way} at {depth}"
    store.reset()
    path = await segments.path(parent)
    assert [segment.depth for segment in path] == [*range(3600)]
    assert sum(store.reads.values()) + 1 <= 98
    store.reset()
    assert await segments.places(parent) == [segment.placed for segment in path]
    assert sum(store.reads.values()) + 1 <= 98
    for start in range(0, 3600, 100):
        store.reset()
        assert await segments.path(parent, start, start + 100) == path[start : start + 100]
        assert sum(store.reads.values()) <= 16, f"of a hundred from {start} on"


def _prompt(depth: int) -> str:
    return f"a red circle moves right, then turns for the {depth // 7}th time"


async def test_captions_that_all_differ_are_listed_in_as_few_reads(store: CountedStore) -> None:
    def told(depth: int) -> str:
        who = f"a red bar at column {1 + depth % 9}, row 1 stays and a blue corner at column {1 + depth * 5 % 9}, row 4"
        return f"{who} moves up, turns back, ends at column {depth % 7}, row {depth} under a grey sky, the camera holds"

    segments = Segments(store, "a")
    made = await grown(segments, None, 5 * SEGMENTS, prompt=told)
    store.reset()
    assert await segments.path(made[-1]) == [segment_of(m) for m in made]
    assert store.reads["segments"] <= 5
    assert max(len(m.encode()) for m in made) - len(made[0].encode()) < 6_000


async def test_captions_that_are_broken_are_refused_with_their_manifest() -> None:
    whole = Trail(fragments=1, segments=1, prompts=(), packed=b"")
    for broken in ("no base64!", "bm8gemxpYg==", base64.b64encode(zlib.compress(b" " * (2 << 20))).decode()):
        with pytest.raises(ValueError, match=r"captions|base64|Non-base64|discontinuous"):
            whole.model_copy(update={"squeezed": broken}).unpacked(bytes(88))


async def test_a_caption_longer_than_a_trail_holds_costs_no_read_as_long_as_it_is_the_same(store: CountedStore) -> None:
    segments = Segments(store, "a")
    made = await grown(segments, None, 2 * SEGMENTS, prompt=lambda _: "long " * PROMPT_BYTES)
    store.reset()
    assert await segments.path(made[-1]) == [segment_of(m) for m in made]
    assert store.reads["segments"] == 1


async def test_the_form_of_manifests_with_trails_stays(store: Store) -> None:
    """A later version that writes others reads these all the same, and extends them without renaming what it read."""
    made = await grown(Segments(store, "a"), None, 3 * SEGMENTS + 3, prompt=_prompt)
    assert made[-1].digest() == "c8fa8be52749e41354d1c09f2baa31ade30102634711c761ba8ba202db0c5691"


async def test_branches_keep_their_own_way(store: Store) -> None:
    segments = Segments(store, "a")
    trunk = await grown(segments, None, 2 * SEGMENTS + 5)
    for fork in (SEGMENTS - 2, SEGMENTS, SEGMENTS + 9):
        branch = await grown(segments, trunk[fork], 2 * SEGMENTS, seed=9 + fork)
        want = [segment_of(m) for m in (*trunk[: fork + 1], *branch)]
        assert await segments.path(branch[-1]) == want
        assert await segments.path(branch[-1], fork, fork + 3) == want[fork : fork + 3]
    assert await segments.path(trunk[-1]) == [segment_of(m) for m in trunk]


async def test_a_video_of_the_version_with_pages_is_read_and_extended(store: CountedStore) -> None:
    segments = PagedSegments(store, "a")
    old = await grown_in_pages(segments, None, 3 * PAGE + STEP + 3)
    assert old[-1].digest() == "a56eaa50b1ad2b661a311738c09e7872656f985a9f9fd81a9fbb0417eaef22c3", (
        "the code of commit 972808d made this of the same segments: every byte of manifests and pages is in it"
    )
    new = await grown(segments, old[-1], SEGMENTS * 2 + 3)
    made = [*old, *new]
    want = [segment_of(m) for m in made]
    for head in (old[0], old[STEP], old[-1], new[0], new[SEGMENTS - 1], new[SEGMENTS], new[-1]):
        store.reset()
        assert await segments.path(head) == want[: head.depth + 1]
        assert sum(store.reads.values()) <= STEP + 8
        assert [part.blob for part in await segments.media(head)] == [s.blob for s in want[: head.depth + 1]]
        assert head.fragments == head.depth + 1
    for start in (0, len(old) - 2, len(old) - 1, len(old), len(old) + 1, len(made) - 2):
        assert await segments.path(new[-1], start, start + 3) == want[start : start + 3]


@pytest.mark.parametrize("length", [3, STEP + 5, PIECE + 1, 3 * PIECE + 40])
async def test_a_video_of_the_version_without_pages_is_read_and_extended(store: Store, length: int) -> None:
    segments = PagedSegments(store, "a")
    old = await grown_whole(segments, length)
    assert "earlier" not in old[-1].encode().decode(), "its bytes are as they were"
    paged = await grown_in_pages(segments, old[-1], PAGE)
    new = await grown(segments, paged[-1], SEGMENTS + 2)
    direct = await grown(segments, old[-1], SEGMENTS + 2, seed=5)
    for made in ([*old, *paged, *new], [*old, *direct]):
        want = [segment_of(m) for m in made]
        for head in (made[-1], old[-1], made[length], made[length + STEP]):
            for _ in range(2):  # once read, once kept
                assert await segments.path(head) == want[: head.depth + 1]
            assert [part.blob for part in await segments.media(head)] == [s.blob for s in want[: head.depth + 1]]
            assert head.fragments == head.depth + 1


async def test_an_hour_of_the_version_without_pages_is_read_one_by_one_only_once(store: CountedStore) -> None:
    segments = Segments(store, "a")
    old = await grown_whole(segments, 900)  # a quarter: its manifests grow with the square
    new = await grown(segments, old[-1], 3)
    first = await segments.path(new[-1])
    store.reset()
    assert await segments.path(new[-1]) == first
    assert 4 * store.calls["get"] <= 100
    store.reset()
    branch = await grown(segments, old[700], 3, seed=2)
    await segments.path(branch[-1])
    assert store.reads["segments"] <= PIECE + 5, "what the branches share is known"


async def test_what_was_kept_of_such_a_video_is_a_hint(store: CountedStore) -> None:
    segments = Segments(store, "a")
    old = await grown_whole(segments, STEP + 5)
    want = await segments.path(old[-1])
    (kept,) = [key.key async for key in store.list("t/a/cache/path/")]
    lost = (await store.get(kept)).data.decode()
    await store.delete(f"t/a/blobs/{lost}")
    assert await segments.path(old[-1]) == want
    await store.put_if_absent(f"t/a/blobs/{lost}", b"other bytes")
    assert await segments.path(old[-1]) == want


async def test_a_missing_parent_another_tenant_and_damage_are_told_apart(store: Store) -> None:
    segments = Segments(store, "a")
    lost = await grown(Segments(store, "b"), None, SEGMENTS + 1)
    orphan = manifest(lost[-1], trail=lost[-1].next_trail())
    with pytest.raises(NotFound, match=lost[-1].digest()):
        await segments.path(orphan)
    with pytest.raises(NotFound, match=lost[0].digest()):
        await segments.path(manifest(lost[0], earlier=Earlier(fragments=1, paged=0, page=None)))
    await segments.commit(orphan)
    with pytest.raises(NotFound):
        await Segments(store, "c").get(orphan.digest())
    await store.put_if_absent(f"t/a/segments/{'f' * 64}", manifest().encode())
    with pytest.raises(Corrupt, match="f" * 64):
        await segments.get("f" * 64)


async def test_a_manifest_of_a_later_version_keeps_its_name_and_is_extended(store: Store) -> None:
    root = manifest()
    text, _, trail = manifest(root, trail=root.next_trail()).encode().partition(b"\n")
    later = later_version.grown(later_version.grown(text, "latents", mood="calm"), mood="calm") + b"\n" + trail
    digest = hashlib.sha256(later).hexdigest()
    await store.put_if_absent(f"t/a/segments/{root.digest()}", root.encode())
    await store.put_if_absent(f"t/a/segments/{digest}", later)
    segments = Segments(store, "a")

    found = await segments.get(digest)
    child = manifest(found, trail=found.next_trail())
    await segments.commit(child)

    assert (found.digest(), found.encode(), child.parent) == (digest, later, digest)
    assert [segment.digest for segment in await segments.path(child)] == [root.digest(), digest, child.digest()]
    assert list(found.unknown()) == ["mood", "latents.mood"]


async def test_a_page_of_a_later_version_is_read(store: Store) -> None:
    segments = PagedSegments(store, "a")
    old = await grown_in_pages(segments, None, PAGE + STEP + 3)
    async for entry in store.list("t/a/pages/"):
        page = Page.model_validate_json(
            later_version.grown((await store.get(entry.key)).data, "segments.0", mood="calm")
        )
        assert list(page.unknown()) == ["segments.mood"]
        assert list(page.path()) == [segment_of(m) for m in old[page.depth : page.depth + len(page.segments)]]


async def test_what_a_later_version_says_in_other_words_is_refused_by_name(store: Store) -> None:
    later = later_version.grown(manifest().encode(), kind="dreamt")
    digest = hashlib.sha256(later).hexdigest()
    await store.put_if_absent(f"t/a/segments/{digest}", later)
    with pytest.raises(Corrupt, match=r"cannot be read by this version \(kind.*run the one that wrote it"):
        await Segments(store, "a").get(digest)


async def test_a_trail_that_was_cut_is_refused(store: Store) -> None:
    root = manifest()
    cut = manifest(root, trail=root.next_trail()).encode()[:-1]
    digest = hashlib.sha256(cut).hexdigest()
    await store.put_if_absent(f"t/a/segments/{digest}", cut)
    with pytest.raises(Corrupt, match="a trail of 1 segments is not 87 bytes long"):
        await Segments(store, "a").get(digest)
