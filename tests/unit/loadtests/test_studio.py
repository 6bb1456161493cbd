"""Real videos in process: what a segment moves through the store is counted whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmarks.bytes_moved import moved_by
from loadtests.counting import kind_of
from loadtests.studio import Studio, studio
from serving.jobs.record import JobRecord
from serving.metrics import RENDER_SECONDS, STEPS_DONE
from serving.segments.trail import SEGMENTS

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_extension_moves_its_latents_its_media_and_little_more(tmp_path: Path) -> None:
    async with studio(tmp_path) as made:
        root = await made.make(seconds=1, aspect_ratio="1:1", steps=1)
        made.store.reset()
        made.sums.reset()

        extension = await made.make(seconds=2, parent=root, steps=1)

        moved = await moved_by(made, extension)
        assert moved.segments == len(extension.segments) == 2
        assert moved.latents > 2 * 4 * 16 * 8 * 8 * 4
        assert moved.written["blobs"] == moved.needed + moved.thumbnails
        assert moved.needed < moved.total
        assert moved.history > 0
        assert made.sums.of(STEPS_DONE) == 2
        assert made.sums.of(RENDER_SECONDS, "decode") > 0


async def test_an_extension_moves_no_more_at_any_length_than_at_one_segment(tmp_path: Path) -> None:
    """At most a tenth more, at the smallest size, whichever segment it is: behind an empty trail, a full one, and the
    one with the most rungs.
    """
    async with studio(tmp_path) as made:
        root = await made.make(seconds=1, aspect_ratio="1:1", steps=1)
        two = await made.make(seconds=1, parent=root, aspect_ratio="1:1", steps=1)
        first = await _moved(made, root)
        for segments in (2, SEGMENTS, SEGMENTS + 1, 64 * SEGMENTS, 64 * SEGMENTS + 1, 3600):
            moved = await _moved(made, await made.lengthened(two, segments))
            for what, amount in moved.items():
                assert amount <= 1.1 * first[what], f"{what} at {segments}"


async def _moved(made: Studio, parent: JobRecord) -> dict[str, int]:
    """Bytes, and objects in all. What goes by the clock, as leases do, is left out."""
    made.store.reset()
    await made.make(seconds=1, parent=parent, aspect_ratio="1:1", steps=1)
    by_clock = ("leases", "runtime", "checkpoints")
    found: dict[str, int] = {}
    for way, counted in (("read", made.store.read), ("written", made.store.written)):
        kept = {key: size for key, size in counted.items() if kind_of(key) not in by_clock}
        found[f"bytes {way}"] = sum(kept.values())
        found["objects"] = found.get("objects", 0) + len(kept)
    return found
