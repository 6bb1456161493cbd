"""TextEncoder: captions become embeddings, once per model and caption within a tenant."""

from __future__ import annotations

import asyncio
import hashlib

from engines.families.base import Array
from serving.metrics import CACHE_LOOKUPS
from serving.stages.contracts import TextCall
from serving.stages.latents import get_array, put_array
from serving.stages.loaded import Loaded


class TextEncoder:
    """See the module."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    async def embed(self, call: TextCall) -> Array:
        """The caption's embedding, [tokens, width] float32."""
        family, blobs = self._loaded.family(call.model), self._loaded.blobs(call.tenant)
        key = hashlib.sha256(f"{call.model_digest}\n{call.effective_prompt}".encode()).hexdigest()
        cached = await blobs.cache_get("text", key)
        self._loaded.metrics.add(CACHE_LOOKUPS, kind="text", outcome="hit" if cached else "miss")
        if cached:
            return await get_array(blobs, cached)
        embedding = await asyncio.to_thread(family.encode_text, self._loaded, call.effective_prompt)
        await blobs.cache_put("text", key, await put_array(blobs, embedding))
        return embedding
