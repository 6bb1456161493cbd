"""Renderer: latents become frames, and frames become the track's fragments, group by group in one process.

Frames never leave it. The decoder's state at a segment's start is rebuilt from the latents before it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from engines.families.base import Array, Family, Frames
from serving.media.encode import Fragment, SegmentEncoder
from serving.media.memory import few_arenas, give_back
from serving.media.still import png, scale_to
from serving.metrics import RENDER_SECONDS
from serving.segments.manifest import MediaPart
from serving.stages.contracts import RENDERS_AT_ONCE, ImageCall, ImageResult, RenderCall, RenderResult
from serving.stages.latents import get_latents
from serving.stages.loaded import Loaded
from serving.stages.threads import Stop, in_thread, stoppable


@dataclass(frozen=True)
class Encoded:
    """A segment's media in memory."""

    init: bytes
    fragments: tuple[Fragment, ...]
    last_frame: Frames
    """uint8 [h, w, 3], native size."""
    seconds: dict[str, float]
    """Time by part."""

    @property
    def data(self) -> bytes:
        """All fragments, in order."""
        return b"".join(fragment.data for fragment in self.fragments)

    def part(self, blob: str) -> MediaPart:
        """What a manifest says of them."""
        return MediaPart(
            blob=blob,
            size=sum(len(fragment.data) for fragment in self.fragments),
            fragment_sizes=tuple(len(fragment.data) for fragment in self.fragments),
            fragment_frames=tuple(fragment.frames for fragment in self.fragments),
        )


class Renderer:
    """One per replica."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._places = asyncio.Semaphore(RENDERS_AT_ONCE)
        """Serve gives a cancelled call's place away at once, though its encoder still ends."""
        few_arenas()

    async def render(self, call: RenderCall, latents: Array) -> RenderResult:
        """Decode and encode a segment; its media are in the store when this returns."""
        family, blobs = self._loaded.family(call.model), self._loaded.blobs(call.tenant)
        lead = await get_latents(blobs, call.lead) if call.lead else None
        async with self._places:
            try:
                encoded = await stoppable(lambda stop: self._encode(family, call, latents, lead, stop))
            finally:
                await in_thread(give_back)
        began = time.monotonic()
        blob, init, thumbnail = await asyncio.gather(
            blobs.put(encoded.data), blobs.put(encoded.init), blobs.put(png(encoded.last_frame))
        )
        seconds = {**encoded.seconds, "upload": time.monotonic() - began}
        for part, value in seconds.items():
            self._loaded.metrics.observe(RENDER_SECONDS, value, part=part)
        return RenderResult(
            frames=sum(fragment.frames for fragment in encoded.fragments),
            init=init,
            media=encoded.part(blob),
            thumbnail=thumbnail,
            seconds=seconds,
        )

    async def render_image(self, call: ImageCall, latents: Array) -> ImageResult:
        """Decode a root's first frame alone and enlarge it by the largest whole factor that fits."""
        family, blobs = self._loaded.family(call.model), self._loaded.blobs(call.tenant)

        def draw() -> tuple[bytes, int, int]:
            frame = next(iter(family.decode(self._loaded, latents[:1], lead=None)))[0]
            scale = scale_to(frame, call.longest_side)
            return png(frame, scale=scale), frame.shape[1] * scale, frame.shape[0] * scale

        async with self._places:
            picture, width, height = await in_thread(draw)
        return ImageResult(await blobs.put(picture), width, height)

    def _encode(self, family: Family, call: RenderCall, latents: Array, lead: Array | None, stop: Stop) -> Encoded:
        with self._loaded.watchdog.watching("video encoder"):
            encoder = SegmentEncoder(call.track, start_frame=call.start_frame, sequence_start=call.sequence_start)
        fragments: list[Fragment] = []
        last = np.zeros((0, 0, 3), np.uint8)
        encoding, began = 0.0, time.monotonic()
        for group in family.decode(self._loaded, latents, lead=lead):
            decoded = time.monotonic()
            with self._loaded.watchdog.watching("video encoder"):
                fragments += encoder.push(group)
            last = group[-1]
            encoding += time.monotonic() - decoded
            stop.check()
        decoded = time.monotonic()
        with self._loaded.watchdog.watching("video encoder"):
            fragments += encoder.finish()
        ended = time.monotonic()
        encoding += ended - decoded
        seconds = {"decode": ended - began - encoding, "encode": encoding}
        return Encoded(encoder.init, tuple(fragments), last, seconds)
