"""Of a video from elsewhere a family that goes on from its newest frames has no more encoded than those, and the first
one; all of it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines import models
from engines.checkpoints.files import Folder
from engines.families.base import TailFamily
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from serving.media.encode import SegmentEncoder
from serving.media.still import frames_of
from serving.media.track import Track
from serving.metrics import Unrecorded
from serving.requests import Codec
from serving.segments.manifest import ManifestCanvas
from serving.stages.contracts import IngestCall
from serving.stages.ingest import Ingester
from serving.stages.latents import get_latents
from serving.stages.loaded import Loaded
from serving.store.open import open_store
from tests.unit.serving.stages import small

pytestmark = pytest.mark.anyio
MODEL, TENANT, SQUARE = "helios-tiny", "studio", Canvas("1:1", 64, 64)


async def test_a_foreign_video_is_gone_on_with_from_its_newest_latents(tmp_path: Path) -> None:
    """Chunks are of 33 frames, which are no whole groups of 4: what is left of the last one is shown too."""
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="a Helios is built with longtake[build]")
    from tests.unit.engines.families.helios.checkpoints import save
    from tests.unit.engines.families.wan.modules import session_of

    save(tmp_path / "checkpoint")
    family = models.opened(Folder(tmp_path / "checkpoint"), name=MODEL, sizes=Sizes((SQUARE,))).family
    assert isinstance(family, TailFamily)
    track = Track(codec=Codec.H264, width=64, height=64, fps=24)
    encoder = SegmentEncoder(track, start_frame=0, sequence_start=0)
    frames = np.random.default_rng(1).integers(0, 256, (72, 64, 64, 3)).astype(np.uint8)
    fragments = [*encoder.push(frames), *encoder.finish()]
    store = await open_store(str(tmp_path / "store"), probe=False)
    with session_of(family) as session:
        loaded = Loaded(session, store, Unrecorded())
        blobs = loaded.blobs(TENANT)
        film = await blobs.put(encoder.init + b"".join(fragment.data for fragment in fragments))
        canvas = ManifestCanvas(**vars(SQUARE))
        made = await Ingester(loaded).ingest(IngestCall(TENANT, MODEL, film, canvas, track))

        assert made.frames == sum(made.media.fragment_frames) == 71
        assert (made.latents, made.tail.count, made.anchor.count) == (made.tail, 19, 1)
        # The newest 67 frames: two chunks and the one before them. And the first frame of all.
        assert [small.calls(loaded, f"vae_encoder_{name}") for name in ("first", "step")] == [4, 16]
        shown = frames_of(await blobs.get(film))[:71]
        tail, anchor = await get_latents(blobs, made.tail), await get_latents(blobs, made.anchor)
        np.testing.assert_array_equal(tail, family.encode_tail(session, shown[-67:]))
        np.testing.assert_array_equal(anchor, family.encode_video(session, shown[:1]))
    await store.close()
