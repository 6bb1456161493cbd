"""What pictures and clips are as latents, kept in the cache once they are computed. The Conditioner asks here.

The cache is a hint: what of it is gone, broken or of another version counts as never computed, and is computed again.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from pydantic import ValidationError

from engines.families.base import Array
from serving.errors import Corrupt, NotFound
from serving.segments.manifest import LatentRef
from serving.segments.picture import EncodedPicture
from serving.stages.latents import get_latents, put_computed
from serving.store.blobs import Blobs


class Computed(NamedTuple):
    """One picture or clip."""

    entry: EncodedPicture
    latents: Array
    """[T, C, h, w]; of a picture, [1, C, h, w]."""


async def find(blobs: Blobs, kind: str, key: str) -> Computed | None:
    """What was computed; its blobs are young again."""
    digest = await blobs.cache_get(kind, key)
    if digest is None:
        return None
    try:
        entry = EncodedPicture.model_validate_json(await blobs.get(digest))
        if not await blobs.keep(entry.latent.blob):
            return None
        return Computed(entry, await get_latents(blobs, entry.latent))
    except (NotFound, Corrupt, ValidationError):
        return None


async def keep(
    blobs: Blobs,
    kind: str,
    key: str,
    latents: Array,
    *,
    description: str = "",
    warning: str | None = None,
    facts: str = "",
) -> Computed:
    """Remember what was computed."""
    ref = LatentRef(blob=await put_computed(blobs, latents), start=0, count=len(latents))
    entry = EncodedPicture(latent=ref, description=description, warning=warning, facts=facts)
    await blobs.cache_put(kind, key, await blobs.put_computed(entry.model_dump_json().encode()))
    return Computed(entry, latents)


def key_of(model_digest: str, content: str, size: str) -> str:
    """Where it is cached: by the model, what is encoded, and how large."""
    return hashlib.sha256(f"{model_digest}\n{content}\n{size}".encode()).hexdigest()
