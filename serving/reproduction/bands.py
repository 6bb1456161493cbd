"""A video that was made again by other engines: how far it is from what is stored, and how far it may be.

Other engines give other bytes, so arrays are compared: a segment's latents, and the pictures that are stored without
loss, which are the thumbnail of its last frame and whatever an image job drew. Media are not: a codec adds to each
difference what it likes. What is allowed is what engines of that precision may be from their model when they are
published (`engines/building/parity.py`). That is said of one segment; a later one goes on from what was made of those
before it, and may be as many times as far off as it has of them and one more: what is wrong shows in the first.
`judge.py` calls it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass

from engines.building import parity
from engines.building.parity import Band
from serving.media.still import pixels
from serving.reproduction.reproduce import Remade
from serving.segments.lineage import Segments
from serving.stages.latents import get_latents
from serving.store.blobs import Blobs


@dataclass(frozen=True)
class Measured:
    """One part of the video."""

    segment: int
    """As `Compared` has it."""
    what: str
    """latents, thumbnail or image."""
    found: tuple[float, ...]
    """Of latents the largest and the mean difference, relative, and one minus the cosine; of pictures the largest and
    the mean one in levels of 255. NaN for what is no number, or of another shape."""
    allowed: tuple[float, ...]

    @property
    def good(self) -> bool:
        """Whether all of it is in the band."""
        return all(value <= most for value, most in zip(self.found, self.allowed, strict=True))

    @property
    def share(self) -> float:
        """Of the band, how much the worst value takes; NaN for what is no number."""
        shares = [value / most for value, most in zip(self.found, self.allowed, strict=True)]
        return math.nan if any(map(math.isnan, shares)) else max(shares)


async def measured(remade: Remade, band: Band) -> list[Measured]:
    """All parts, in the order in which they came to be. Raises `NotFound` for what is not there any more."""
    return [*[one async for one in _segments(remade, band)], *[one async for one in _images(remade, band)]]


async def _segments(remade: Remade, band: Band) -> AsyncIterator[Measured]:
    tenant = remade.stored.tenant
    old, new = Blobs(remade.store, tenant), Blobs(remade.overlay, tenant)
    pairs = zip(remade.stored.segments, remade.made.segments, strict=True)
    for number, (before, after) in enumerate(pairs, start=1):
        wanted = await Segments(remade.store, tenant).get(before)
        found = await Segments(remade.overlay, tenant).get(after)
        latents = await get_latents(old, wanted.latents), await get_latents(new, found.latents)
        apart = await asyncio.to_thread(parity.difference, *latents)
        yield Measured(wanted.depth, "latents", tuple(apart), _times(number, band.run))
        levels = await _levels(old, new, wanted.thumbnail, found.thumbnail)
        yield Measured(wanted.depth, "thumbnail", levels, _times(number, band.frames))


async def _images(remade: Remade, band: Band) -> AsyncIterator[Measured]:
    tenant = remade.stored.tenant
    old, new = Blobs(remade.store, tenant), Blobs(remade.overlay, tenant)
    for number, pair in enumerate(zip(remade.stored.images, remade.made.images, strict=True)):
        yield Measured(number, "image", await _levels(old, new, *pair), tuple(band.frames))


def _times(number: int, allowed: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(number * most for most in allowed)


async def _levels(old: Blobs, new: Blobs, before: str, after: str) -> tuple[float, ...]:
    pair = pixels(await old.get(before)), pixels(await new.get(after))
    return tuple(await asyncio.to_thread(parity.levels, *pair))
