"""What a store that grows costs those who look at all of it: a long film that is opened, and a collection that finds
nothing to collect.

Nothing is made here: manifests and records lie in a directory in memory as if it had been, so that only CPU counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from loadtests.accept import accept
from loadtests.counting import CountingStore
from loadtests.harness import interleaved
from loadtests.scale import Scale
from loadtests.table import Row, paired, spread
from serving.clock import now_ms
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.media.track import Track
from serving.media.virtual import VirtualFile, virtual_file
from serving.requests import Codec, VideoRequest
from serving.retention.collect import collect_once
from serving.segments.lineage import Segments
from serving.segments.manifest import LatentRef, ManifestCanvas, MediaPart, SegmentManifest
from serving.settings import Retention
from serving.store import keys
from serving.store.base import Store
from serving.store.blobs import Blobs
from serving.store.open import open_store

NAME = "length"
TENANT = "default"
MODEL = "sprite-2"
DIGEST = "0" * 64
HEADER = b"\0\0\0\x08free"
"""The smallest that there is."""
HOUR = 3600
"""Segments."""
DAY_S = 86_400
AIM_MS = "<= 50 ms"
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def run(scale: Scale) -> list[Row]:
    """Both."""
    return asyncio.run(_run(scale))


async def _run(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as films, tempfile.TemporaryDirectory(dir=IN_MEMORY) as videos:
        return [*await _film(Path(films), scale), *await _collection(Path(videos), scale)]


# ── a film ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _film(folder: Path, scale: Scale) -> list[Row]:
    store = await open_store(str(folder), probe=False)
    head = None
    for depth in range(HOUR):
        head = await _segment(store, f"film {depth}", head)
    assert head is not None
    digest, segments = head.digest(), Segments(store, TENANT)
    read = await _read_for(segments, head)

    async def opened() -> None:
        assert len((await _open(store, segments, digest)).blobs) == HOUR

    async def bare() -> None:
        for needed in read:
            await store.get(keys.segment(TENANT, needed))

    arm, base = await interleaved(3 * scale.rounds, _timed(opened), _timed(bare))
    await store.close()
    what = f"a film of {HOUR:,} segments is opened, against its {len(read)} manifests read: CPU ms"
    return [Row(NAME, what, spread(arm), spread(base), paired(arm, base), AIM_MS)]


async def _open(store: Store, segments: Segments, digest: str) -> VirtualFile:
    """As a front door does."""
    head = await segments.get(digest)
    init = await Blobs(store, TENANT).get(head.init)
    return virtual_file(head.track, init, await segments.media(head))


async def _read_for(segments: Segments, head: SegmentManifest) -> list[str]:
    """Digests of the manifests whose trails together list the film."""
    read, manifest = [head.digest()], head
    while manifest.trail is not None and manifest.depth != manifest.trail.segments:
        read.append(manifest.trail.first)
        manifest = await segments.get(read[-1])
    return read


# ── a collection ────────────────────────────────────────────────────────────────────────────────────────────────────


async def _collection(folder: Path, scale: Scale) -> list[Row]:
    store = CountingStore(await open_store(str(folder), probe=False))
    for number in range(scale.stored):
        await _video(store, number)
    _grow_old(folder)

    async def collected() -> None:
        report = await collect_once(store, Retention(), now_ms=now_ms)
        assert report.of("videos").live.keys == scale.stored

    async def listed() -> None:
        assert len([entry async for entry in store.list(keys.TENANTS)]) > scale.stored

    await collected()  # it reads all, and writes down what it found
    store.reset()
    await collected()
    calls = store.calls.total()
    arm, base = await interleaved(3 * scale.rounds, _timed(collected), _timed(listed))
    await store.close()
    what = f"a collection over {scale.stored:,} videos that finds nothing"
    return [
        Row(NAME, f"{what}: calls of the store", str(calls)),
        Row(NAME, f"{what}, against one listing: CPU ms", spread(arm), spread(base), paired(arm, base)),
        Row(NAME, f"{what}: CPU us a video", spread([1000 * ms / scale.stored for ms in arm])),
    ]


async def _video(store: Store, number: int) -> JobRecord:
    """A finished video of one segment."""
    jobs = Jobs(store)
    request = VideoRequest(
        model=MODEL, aspect_ratio="1:1", resolution="480p", prompt="a circle", seconds=1, steps=2, seed=3
    )
    record = await accept(request, store=store, jobs=jobs, tenant=TENANT, model_digest=DIGEST, created_ms=now_ms())
    segment = await _segment(store, f"video {number}", None)
    for name in ("latents", "media", "thumbnail"):
        await store.put_if_absent(keys.blob(TENANT, _named(f"{name} video {number}")), b"x")
    running = await jobs.transition(record, state=JobState.RUNNING, attempt=1, started_ms=now_ms())
    ended = await jobs.transition(running, state=JobState.SUCCEEDED, segments=(segment.digest(),), finished_ms=now_ms())
    await jobs.retire(ended)
    return ended


def _grow_old(folder: Path) -> None:
    """What is younger than a collection's margin is read every time."""
    then = time.time() - DAY_S
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


# ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _segment(store: Store, name: str, parent: SegmentManifest | None) -> SegmentManifest:
    """A manifest, and the header that it shares with all others."""
    depth = parent.depth + 1 if parent else 0
    latents = LatentRef(blob=_named(f"latents {name}"), start=0, count=5)
    manifest = SegmentManifest(
        kind="generated",
        tenant=TENANT,
        video=f"vid_{_named(name)[:26]}",
        parent=parent.digest() if parent else None,
        depth=depth,
        model=MODEL,
        model_digest=DIGEST,
        prompt="a circle",
        effective_prompt="a circle",
        seed=3,
        steps=2,
        canvas=ManifestCanvas(aspect_ratio="1:1", height=96, width=96),
        track=Track(codec=Codec.AV1, width=480, height=480, fps=16),
        frames=16 if parent else 17,
        start_frame=parent.total_frames if parent else 0,
        latents=latents,
        anchor=parent.anchor if parent else latents,
        tail=latents,
        init=parent.init if parent else await Blobs(store, TENANT).put(HEADER),
        parts=(
            MediaPart(
                blob=_named(f"media {name}"),
                size=9000 + depth,
                fragment_sizes=(9000 + depth,),
                fragment_frames=(16 if parent else 17,),
            ),
        ),
        trail=parent.next_trail() if parent else None,
        thumbnail=_named(f"thumbnail {name}"),
    )
    await store.put_if_absent(keys.segment(TENANT, manifest.digest()), manifest.encode())
    return manifest


def _timed(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[float]]:
    """Milliseconds of this process's CPU."""

    async def measured() -> float:
        began = time.process_time()
        await work()
        return 1000 * (time.process_time() - began)

    return measured


def _named(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
