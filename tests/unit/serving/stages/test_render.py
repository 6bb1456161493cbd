"""The Renderer by itself, on the real engines: what joins, and what it costs."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from serving.media.still import frames_of
from serving.media.track import Track
from serving.requests import Codec
from serving.segments.manifest import LatentRef
from serving.stages.contracts import (
    ImageCall,
    RenderCall,
)
from serving.stages.latents import put_latents
from serving.stages.loaded import Loaded
from serving.stages.render import Renderer
from tests.unit.serving.stages.small import MODEL, TENANT, TRACK

pytestmark = pytest.mark.anyio


async def test_segments_rendered_apart_are_the_video_decoded_in_one(loaded: Loaded, tmp_path: Path) -> None:
    blobs, renderer = loaded.blobs(TENANT), Renderer(loaded)
    latents = np.random.default_rng(3).standard_normal((9, 16, 8, 8)).astype(np.float32) * 0.5
    ref = await put_latents(blobs, latents)

    root = await renderer.render(RenderCall(TENANT, "job", MODEL, TRACK, 0, 0), latents[:5])
    lead = LatentRef(blob=ref.blob, start=4, count=1)
    rest = await renderer.render(
        RenderCall(TENANT, "job", MODEL, TRACK, root.frames, len(root.media.fragment_sizes), lead), latents[5:]
    )

    assert (root.frames, rest.frames) == (17, 16)
    assert root.media.fragment_frames == (1, 4, 4, 4, 4)
    assert root.init == rest.init
    assert set(root.seconds) == {"decode", "encode", "upload"}
    joined = frames_of(b"".join([await blobs.get(digest) for digest in (root.init, root.media.blob, rest.media.blob)]))
    whole = np.concatenate(list(loaded.session.family.decode(loaded.session, latents, lead=None)))
    native = joined[:, ::2, ::2].astype(int)
    assert len(joined) == 33
    assert np.abs(native - whole).mean() < 12
    assert (await blobs.get(root.thumbnail)).startswith(b"\x89PNG")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library keeps what it keeps")
async def test_a_renderer_does_not_grow_with_the_segments_that_it_encodes(loaded: Loaded) -> None:
    renderer = Renderer(loaded)
    latents = np.random.default_rng(3).standard_normal((5, 16, 8, 14)).astype(np.float32) * 0.5
    call = RenderCall(TENANT, "job", MODEL, Track(codec=Codec.AV1, width=784, height=448, fps=16), 0, 0)
    await renderer.render(call, latents)
    before = _resident_mb()

    for _ in range(4):  # without giving back, 100 to 280 MB more
        await renderer.render(call, latents)

    assert _resident_mb() - before < 70


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def test_an_image_is_the_first_frame_enlarged_by_a_whole_factor(loaded: Loaded) -> None:
    latents = np.zeros((5, 16, 8, 14), np.float32)

    made = await Renderer(loaded).render_image(ImageCall(TENANT, "job", MODEL, longest_side=1024), latents)

    assert (made.width, made.height) == (1008, 576)
