"""TextEncoder: captions become embeddings, once per model and caption within a tenant."""

from __future__ import annotations

import hashlib
import json

from engines.families.base import Array
from serving.errors import Corrupt, NotFound
from serving.metrics import CACHE_LOOKUPS
from serving.stages.contracts import TextCall
from serving.stages.latents import get_array, put_computed
from serving.stages.loaded import Loaded
from serving.stages.threads import in_thread
from serving.store.blobs import Blobs


class TextEncoder:
    """One per replica."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    async def embed(self, call: TextCall) -> Array:
        """The caption's embedding, [tokens, width] float32."""
        family, blobs = self._loaded.family(call.model), self._loaded.blobs(call.tenant)
        if not family.uses["encode_text"]:  # nothing is computed that would be worth to be kept
            return await in_thread(family.encode_text, self._loaded, call.effective_prompt, call.negative_prompt)
        key = _key(call)
        cached = await self._cached(blobs, key)
        self._loaded.metrics.add(CACHE_LOOKUPS, kind="text", outcome="miss" if cached is None else "hit")
        if cached is not None:
            return cached
        embedding = await in_thread(family.encode_text, self._loaded, call.effective_prompt, call.negative_prompt)
        await blobs.cache_put("text", key, await put_computed(blobs, embedding))
        return embedding

    async def _cached(self, blobs: Blobs, key: str) -> Array | None:
        digest = await blobs.cache_get("text", key)
        try:
            return await get_array(blobs, digest) if digest else None
        except (NotFound, Corrupt):  # what was computed once can be computed again
            return None


def _key(call: TextCall) -> str:
    """Where the embedding is cached: without a negative prompt, where it always was."""
    text = f"{call.model_digest}\n{call.effective_prompt}"
    if call.negative_prompt:
        text = json.dumps([text, call.negative_prompt])
    return hashlib.sha256(text.encode()).hexdigest()
