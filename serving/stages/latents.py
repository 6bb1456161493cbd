"""Arrays as blobs: safetensors, one float32 tensor called `latents`. No pickle, ever."""

from __future__ import annotations

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engines.families.base import Array
from serving.errors import Corrupt
from serving.segments.manifest import LatentRef
from serving.store.blobs import Blobs

TENSOR = "latents"


async def put_array(blobs: Blobs, array: Array) -> str:
    """Store an array; its blob's digest."""
    return await blobs.put(_bytes_of(array))


async def put_computed(blobs: Blobs, array: Array) -> str:
    """The same for one that can be computed again; see `Blobs.put_computed`."""
    return await blobs.put_computed(_bytes_of(array))


async def get_array(blobs: Blobs, digest: str) -> Array:
    """Read an array. Raises `NotFound`, and `Corrupt` for bytes that hold none."""
    try:
        return load(await blobs.get(digest))[TENSOR]
    except (SafetensorError, KeyError) as error:
        raise Corrupt(f"blob {digest} holds no tensor `{TENSOR}`") from error


async def put_latents(blobs: Blobs, latents: Array, *, lead: int = 0) -> LatentRef:
    """Store latents [T, C, h, w]; a reference to all but the first `lead` ones."""
    return LatentRef(blob=await put_array(blobs, latents), start=lead, count=len(latents) - lead)


async def get_latents(blobs: Blobs, ref: LatentRef) -> Array:
    """The latents that a reference names, [count, C, h, w]. Raises `NotFound`, `Corrupt`."""
    latents = await get_array(blobs, ref.blob)
    if ref.start + ref.count > len(latents):
        raise Corrupt(f"blob {ref.blob} holds {len(latents)} latents, not {ref.start + ref.count}")
    return latents[ref.start : ref.start + ref.count]


def _bytes_of(array: Array) -> bytes:
    return save({TENSOR: np.ascontiguousarray(array, dtype=np.float32)})
