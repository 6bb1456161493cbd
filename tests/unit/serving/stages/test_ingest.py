"""Videos that were made elsewhere keep their pixels and get latents."""

from __future__ import annotations

import numpy as np
import pytest

from serving.errors import Corrupt, InvalidArgument
from serving.media.encode import SegmentEncoder
from serving.media.sandbox import Decoder
from serving.media.still import frames_of
from serving.stages.contracts import (
    IngestCall,
)
from serving.stages.ingest import Ingester, fit, shrink
from serving.stages.loaded import Loaded
from tests.unit.serving.stages.small import CANVAS, MODEL, TENANT, TRACK

pytestmark = pytest.mark.anyio


async def test_a_foreign_video_keeps_its_own_pixels_and_gets_latents(loaded: Loaded) -> None:
    blobs = loaded.blobs(TENANT)
    frames = np.full((40, 128, 128, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        frame[32:96, number : number + 48] = (20, 20, 230)
    encoder = SegmentEncoder(TRACK, start_frame=0, sequence_start=0)
    fragments = [*encoder.push(frames[:1]), *encoder.push(frames[1:]), *encoder.finish()]
    video = await blobs.put(encoder.init + b"".join(fragment.data for fragment in fragments))

    made = await Ingester(loaded, Decoder()).ingest(IngestCall(TENANT, MODEL, video, CANVAS, TRACK))

    assert made.frames == 37
    assert sum(made.media.fragment_frames) == 37
    assert (made.latents.count, made.anchor.start, made.tail.start, made.tail.count) == (10, 0, 9, 1)
    assert "37 frames" in made.warnings[0]
    shown = frames_of(await blobs.get(made.init) + await blobs.get(made.media.blob))
    assert np.abs(shown[20].astype(int) - frames[20]).mean() < 6


async def test_a_foreign_video_that_the_store_garbled_is_not_ingested(loaded: Loaded) -> None:
    blobs = loaded.blobs(TENANT)
    encoder = SegmentEncoder(TRACK, start_frame=0, sequence_start=0)
    frames = np.full((40, 128, 128, 3), 255, np.uint8)
    fragments = [*encoder.push(frames), *encoder.finish()]
    film = encoder.init + b"".join(fragment.data for fragment in fragments)
    digest = await blobs.put(film)
    key = next(
        key for key in [entry.key async for entry in loaded.store.list(f"t/{TENANT}/blobs/")] if key.endswith(digest)
    )
    await loaded.store.delete(key)
    await loaded.store.put_if_absent(key, film[:-1] + bytes([film[-1] ^ 1]))

    with pytest.raises(Corrupt, match=digest):
        await Ingester(loaded, Decoder()).ingest(IngestCall(TENANT, MODEL, digest, CANVAS, TRACK))


async def test_whole_latents_are_taken_of_any_length(loaded: Loaded) -> None:
    capabilities = loaded.session.family.capabilities

    assert fit(2.0, capabilities)[0] == 29
    assert fit(33 / 16, capabilities) == (33, ())
    with pytest.raises(InvalidArgument, match="at least"):
        fit(0.2, capabilities)


async def test_frames_are_averaged_down_to_the_canvas() -> None:
    frame = np.zeros((128, 128, 3), np.uint8)
    frame[:, ::2] = 200

    assert (shrink(frame, CANVAS) == 100).all()
