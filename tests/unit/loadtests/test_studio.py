"""Real videos in process: what a segment moves through the store is counted whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmarks.bytes_moved import moved_by
from loadtests.studio import studio
from serving.metrics import RENDER_SECONDS, STEPS_DONE

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
