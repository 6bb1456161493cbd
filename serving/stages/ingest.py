"""Ingester: a foreign video becomes a root segment.

It is decoded once, in the sandbox's child process, at the track's size. Its own pixels, scaled, are what the track
shows; the model sees them averaged down to the canvas. Nothing of it is encoded again after that.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import numpy as np

from engines.families.base import Family, Frames, TailFamily
from engines.families.capabilities import Capabilities
from serving.errors import Corrupt, InvalidArgument
from serving.media.encode import Fragment, SegmentEncoder
from serving.media.memory import few_arenas, give_back
from serving.media.sandbox import Decoder
from serving.media.still import png
from serving.segments.manifest import LatentRef, ManifestCanvas
from serving.stages.contracts import INGESTS_AT_ONCE, IngestCall, IngestResult
from serving.stages.latents import put_latents
from serving.stages.loaded import Loaded
from serving.stages.render import Encoded
from serving.stages.threads import in_thread
from serving.stages.watchdog import Watchdog
from serving.store.blobs import Blobs

_CHUNK = 4 * 1024 * 1024
_FIELD = "video"


class Ingester:
    """One per replica of the Conditioner's stage."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._decoder = Decoder(INGESTS_AT_ONCE)
        """Its own: a film keeps its place until it is encoded, and no picture is to wait for that."""
        self._places = asyncio.Semaphore(INGESTS_AT_ONCE)
        few_arenas()

    async def ingest(self, call: IngestCall) -> IngestResult:
        """Decode, encode into the track and into latents. Raises `InvalidArgument` for what cannot be decoded."""
        async with self._places:
            return await self._ingested(call)

    async def _ingested(self, call: IngestCall) -> IngestResult:
        family, blobs = self._loaded.family(call.model), self._loaded.blobs(call.tenant)
        with tempfile.TemporaryDirectory(prefix="longtake-ingest-") as folder:
            path = Path(folder) / "video.mp4"
            await _fetch(blobs, call.blob, path)
            facts = await self._decoder.probe_video(path, field=_FIELD)
            frames, warnings = fit(facts.seconds, family.capabilities)
            pictures = self._decoder.decode_video(
                path,
                width=call.track.width,
                height=call.track.height,
                fps=call.track.fps,
                frames=frames,
                field=_FIELD,
            )
            try:
                async with aclosing(pictures):  # type: ignore[type-var]  # an async generator
                    encoded, first, newest = await _encode(pictures, call, family, self._loaded.watchdog)
            finally:
                await in_thread(give_back)
        latents, anchor, tail = await self._latents(family, blobs, first, newest)
        read = await in_thread(family.read_frame, newest[-1])
        blob, init, thumbnail = await asyncio.gather(
            blobs.put(encoded.data), blobs.put(encoded.init), blobs.put(png(encoded.last_frame))
        )
        return IngestResult(
            frames=frames,
            latents=latents,
            anchor=anchor,
            tail=tail,
            init=init,
            media=encoded.part(blob),
            thumbnail=thumbnail,
            warnings=(*warnings, *([read.warning] if read.warning else [])),
            facts=read.facts,
        )

    async def _latents(
        self, family: Family, blobs: Blobs, first: Frames, newest: Frames
    ) -> tuple[LatentRef, LatentRef, LatentRef]:
        """Those of the video, its first one, and its newest ones. A `TailFamily` goes on from the last two alone, and
        so no more is encoded for it: a long film would take it hours."""
        if isinstance(family, TailFamily):  # what is decoded before it goes on has to begin as a video does
            tail = await put_latents(blobs, await self._loaded.encode(partial(family.encode_tail, frames=newest)))
            still = await self._loaded.encode(partial(family.encode_video, frames=first[None]))
            return tail, await put_latents(blobs, still), tail
        ref = await put_latents(blobs, await self._loaded.encode(partial(family.encode_video, frames=newest)))
        kept = min(family.history_latents, ref.count)
        tail = LatentRef(blob=ref.blob, start=ref.count - kept, count=kept)
        return ref, LatentRef(blob=ref.blob, start=0, count=1), tail


def fit(seconds: float, capabilities: Capabilities) -> tuple[int, tuple[str, ...]]:
    """How many frames a video of this length gives, and what to tell of it: those of its first latent, and whole
    latents after it.

    Raises `InvalidArgument` for a video too short to be continued.
    """
    fps, first = capabilities.fps, capabilities.first_latent_frames
    there, least = int(seconds * fps + 1e-6), capabilities.frames_of(2, root=True)
    if there < least:
        raise InvalidArgument(_FIELD, f"it has {seconds:.2f} s; at least {least / fps:.2f} s are needed")
    frames = capabilities.frames_of(capabilities.latents_of(there), root=True)
    if frames == there:
        return frames, ()
    warning = (
        f"the video was taken as {frames} frames at {fps} frames per second ({frames / fps:.2f} s): "
        f"the model continues after {'one frame' if first == 1 else f'{first} frames'} and whole groups of "
        f"{capabilities.frames_per_latent}"
    )
    return frames, (warning,)


def shrink(frame: Frames, canvas: ManifestCanvas) -> Frames:
    """A frame of the track's size, uint8 [H, W, 3], averaged down to the canvas."""
    scale = frame.shape[0] // canvas.height
    blocks = frame.reshape(canvas.height, scale, canvas.width, scale, 3).astype(np.float32)
    small: Frames = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return small


async def _encode(
    pictures: AsyncIterator[Frames], call: IngestCall, family: Family, watchdog: Watchdog
) -> tuple[Encoded, Frames, Frames]:
    """The video's media, and its frames at the canvas's size: the first one, and the newest, as many of them as the
    family encodes."""
    can = family.capabilities
    watched = partial(watchdog.watched, "video encoder")
    encoder = await in_thread(watched, partial(SegmentEncoder, call.track, start_frame=0, sequence_start=0))
    fragments: list[Fragment] = []
    kept = can.frames_of(family.history_latents, root=True) if isinstance(family, TailFamily) else None
    small = deque[Frames](maxlen=kept)
    first: Frames | None = None
    pending: list[Frames] = []
    async for picture in pictures:
        small.append(shrink(picture, call.canvas))
        pending.append(picture)
        begins = first is None and len(small) == can.first_latent_frames
        if begins or len(pending) == can.frames_per_latent:
            first = small[0] if first is None else first
            fragments += await in_thread(watched, encoder.push, np.stack(pending))
            pending = []
    if pending:
        fragments += await in_thread(watched, encoder.push, np.stack(pending))
    fragments += await in_thread(watched, encoder.finish)
    assert first is not None, "`fit` takes no video that is shorter"
    return Encoded(encoder.init, tuple(fragments), small[-1], {}), first, np.stack(small)


async def _fetch(blobs: Blobs, digest: str, path: Path) -> None:
    """Write a blob to a file, piece by piece. Raises `Corrupt` when the bytes are not those of its name."""
    at, sha256 = 0, hashlib.sha256()
    with path.open("wb") as file:
        while piece := await blobs.get_range(digest, at, _CHUNK):
            file.write(piece)
            sha256.update(piece)
            at += len(piece)
    if sha256.hexdigest() != digest:
        raise Corrupt(f"blob {digest} holds other bytes than its name says: restore it from a copy of the store")
