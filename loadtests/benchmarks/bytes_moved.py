"""Bytes that a segment moves through the store, against what must move: its latents and its part of the MP4.

What the history of an extension costs to read is reported apart, and so are checkpoints, of which a segment writes none
now: its slices keep their state in the replica.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loadtests.counting import kind_of
from loadtests.scale import Scale
from loadtests.studio import TENANT, Studio, studio
from loadtests.table import Row
from serving.jobs.record import JobRecord
from serving.segments.lineage import Segments
from serving.segments.manifest import SegmentManifest

NAME = "bytes_moved"


@dataclass(frozen=True)
class Moved:
    """What one job moved, per segment of it."""

    segments: int
    latents: int
    media: int
    thumbnails: int
    written: dict[str, int]
    """By kind of object."""
    read: dict[str, int]
    """Without the history."""
    history: int

    @property
    def needed(self) -> int:
        """Latents and MP4."""
        return self.latents + self.media

    @property
    def total(self) -> int:
        """Everything but the history."""
        return sum(self.written.values()) + sum(self.read.values())


def run(_: Scale) -> list[Row]:
    """A video from text and an extension of it. Counts, so once is enough."""
    return asyncio.run(_run())


async def _run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        async with studio(Path(folder)) as made:
            await made.make(seconds=1)
            made.store.reset()
            root = await made.make(seconds=4)
            rows = _rows("16:9 480p, text", await moved_by(made, root))
            made.store.reset()
            longer = await made.make(seconds=4, parent=root)
            rows += _rows("16:9 480p, extension", await moved_by(made, longer))
    return rows


async def moved_by(made: Studio, record: JobRecord) -> Moved:
    """What the store counted since its last reset, for the job that was made meanwhile."""
    read, written = dict(made.store.read), dict(made.store.written)
    manifests = [await Segments(made.store, TENANT).get(digest) for digest in record.segments]
    sizes = {key.rpartition("/")[2]: size for key, size in written.items() if kind_of(key) == "blobs"}
    history = {digest for manifest in await _path(made, record) for digest in _latents_of(manifest)}
    from_history = {key for key in read if kind_of(key) == "blobs" and key.rpartition("/")[2] in history}
    return Moved(
        segments=len(manifests),
        latents=sum(sizes[manifest.latents.blob] for manifest in manifests),
        media=sum(manifest.parts[-1].size for manifest in manifests),
        thumbnails=sum(sizes.get(manifest.thumbnail, 0) for manifest in manifests),
        written=_by_kind(written),
        read=_by_kind({key: size for key, size in read.items() if key not in from_history}),
        history=sum(read[key] for key in from_history),
    )


async def _path(made: Studio, record: JobRecord) -> list[SegmentManifest]:
    segments = Segments(made.store, TENANT)
    path = await segments.path(await segments.get(record.segments[-1]))
    return [await segments.get(segment.digest) for segment in path]


def _latents_of(manifest: SegmentManifest) -> tuple[str, str, str]:
    return manifest.latents.blob, manifest.anchor.blob, manifest.tail.blob


def _by_kind(sizes: dict[str, int]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for key, size in sizes.items():
        kinds[kind_of(key)] = kinds.get(kind_of(key), 0) + size
    return kinds


def _rows(case: str, moved: Moved) -> list[Row]:
    def each(size: int) -> str:
        return f"{size / moved.segments / 1000:.1f} kB"

    def kinds(sizes: dict[str, int]) -> str:
        return ", ".join(f"{kind} {each(size)}" for kind, size in sorted(sizes.items()) if size) or "nothing"

    needed = f"latents {each(moved.latents)} + MP4 {each(moved.media)}"
    return [
        Row(
            NAME,
            f"{case}: written and read per segment",
            each(moved.total),
            needed,
            f"{moved.total / moved.needed:.2f}",
        ),
        Row(NAME, f"{case}: written", kinds(moved.written), f"of it thumbnails {each(moved.thumbnails)}"),
        Row(NAME, f"{case}: read", kinds(moved.read)),
        Row(NAME, f"{case}: apart", f"history reads {each(moved.history)}, checkpoints none"),
    ]
