"""Videos that were made elsewhere keep their pixels and get latents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from engines.families.base import Frames
from serving.errors import Corrupt, InvalidArgument
from serving.media.encode import SegmentEncoder
from serving.media.still import frames_of, png
from serving.stages import ingest
from serving.stages.contracts import (
    INGESTS_AT_ONCE,
    IngestCall,
    IngestResult,
    InputsCall,
)
from serving.stages.in_process import InProcessStages
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

    made = await Ingester(loaded).ingest(IngestCall(TENANT, MODEL, video, CANVAS, TRACK))

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
        await Ingester(loaded).ingest(IngestCall(TENANT, MODEL, digest, CANVAS, TRACK))


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


class _Watched(Ingester):
    """Counts those that are at work, each until it may end."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded)
        self.inside = 0
        self.may_end = asyncio.Event()

    async def _ingested(self, call: IngestCall) -> IngestResult:
        self.inside += 1
        await self.may_end.wait()
        self.inside -= 1
        raise Corrupt(call.blob)


async def test_so_many_films_are_taken_in_at_once_and_the_rest_wait(loaded: Loaded) -> None:
    ingester = _Watched(loaded)
    calls = [
        asyncio.create_task(ingester.ingest(IngestCall(TENANT, MODEL, str(number), CANVAS, TRACK)))
        for number in range(INGESTS_AT_ONCE + 3)
    ]
    await asyncio.sleep(0.05)
    assert ingester.inside == INGESTS_AT_ONCE
    ingester.may_end.set()
    assert [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)] == [Corrupt] * len(calls)


async def test_no_picture_waits_for_films_that_are_taken_in(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many films as are taken at once are held while they are encoded; a picture is decoded meanwhile."""
    stages, blobs = InProcessStages(loaded), loaded.blobs(TENANT)
    encoder = SegmentEncoder(TRACK, start_frame=0, sequence_start=0)
    fragments = [*encoder.push(np.zeros((40, 128, 128, 3), np.uint8)), *encoder.finish()]
    film = await blobs.put(encoder.init + b"".join(fragment.data for fragment in fragments))
    picture = await blobs.put(png(np.zeros((64, 64, 3), np.uint8)))
    encoding: asyncio.Queue[None] = asyncio.Queue()

    async def held(pictures: AsyncIterator[Frames], *_: object) -> None:
        await anext(pictures)
        encoding.put_nowait(None)
        await asyncio.Event().wait()

    monkeypatch.setattr(ingest, "_encode", held)
    films = [
        asyncio.create_task(stages.ingest(IngestCall(TENANT, MODEL, film, CANVAS, TRACK)))
        for _ in range(INGESTS_AT_ONCE)
    ]
    async with asyncio.timeout(60):
        for _ in films:
            await encoding.get()
        read = await stages.read_inputs(InputsCall(TENANT, MODEL, "d" * 64, CANVAS, references=(picture,)))
    assert len(read.references) == 1
    for running in films:
        running.cancel()
    await asyncio.gather(*films, return_exceptions=True)
