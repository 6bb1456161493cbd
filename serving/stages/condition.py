"""Conditioner: pictures become latents, and a segment's conditions are gathered.

A picture is decoded and encoded once per model, size and content within a tenant; the cache remembers its latent and
what was read from it. So it is with the clips that a `ClipFamily` takes instead, and with the one of nothing but grey,
where it takes that. Foreign videos are `ingest.py`'s part.
"""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np

from engines.families.base import Array, ClipFamily, Conditions, Family
from engines.families.capabilities import Canvas, Role
from serving.media.sandbox import Decoder
from serving.metrics import CACHE_LOOKUPS
from serving.segments.manifest import LatentRef, ManifestCanvas
from serving.segments.picture import EncodedPicture
from serving.stages import computed
from serving.stages.computed import Computed
from serving.stages.contracts import ConditionCall, InputsCall, InputsResult
from serving.stages.latents import get_latents
from serving.stages.loaded import Loaded
from serving.stages.threads import in_thread
from serving.store.blobs import Blobs


class Conditioner:
    """One per replica."""

    def __init__(self, loaded: Loaded, decoder: Decoder) -> None:
        self._loaded = loaded
        self._decoder = decoder
        self._clips = asyncio.Semaphore(1)
        """Who waited for the same clip finds it made."""

    async def read_inputs(self, call: InputsCall) -> InputsResult:
        """Encode a job's pictures. Raises `InvalidArgument` for one that cannot be decoded."""
        first = await self._first_frame(call, call.first_frame) if call.first_frame else None
        roles: tuple[Role, ...] = call.roles or tuple("subject" for _ in call.references)
        references = [
            await self._reference(call, digest, role) for digest, role in zip(call.references, roles, strict=True)
        ]
        return InputsResult(
            first_frame=first.latent if first else None,
            references=tuple(read.latent for read in references),
            effective_references=tuple(read.description for read in references),
            warnings=tuple(read.warning for read in (*([first] if first else []), *references) if read.warning),
            first_facts=first.facts if first else "",
            reference_facts=tuple(read.facts for read in references),
        )

    async def condition(self, call: ConditionCall, text: Array) -> Conditions:
        """Read the latents that a segment is conditioned on."""
        family, blobs, canvas = self._loaded.family(call.model), self._loaded.blobs(call.tenant), call.canvas
        if isinstance(family, ClipFamily):
            short = await self._clip(family, blobs, canvas, call.tail) if call.tail else None
            blank = await self._clip(family, blobs, canvas, None) if family.takes_blank else None
        else:
            short = await get_latents(blobs, call.tail) if call.tail else None
            blank = None
        return Conditions(
            canvas=Canvas(canvas.aspect_ratio, canvas.height, canvas.width),
            text=text,
            references=tuple([(await get_latents(blobs, ref))[0] for ref in call.references]),
            first=await get_latents(blobs, call.first_frame) if call.first_frame else None,
            anchor=await get_latents(blobs, call.anchor) if call.anchor else None,
            short=short,
            blank=blank,
            memory=tuple([(await get_latents(blobs, ref))[0] for ref in call.memory]),
            image=call.image,
            effective_prompt=call.effective_prompt,
            before=call.before,
        )

    async def _first_frame(self, call: InputsCall, digest: str) -> EncodedPicture:
        family, blobs = self._loaded.family(call.model), self._loaded.blobs(call.tenant)
        height, width = call.canvas.height, call.canvas.width
        key = computed.key_of(call.model_digest, digest, _clip_size(family, height, width))
        found = await self._found(blobs, "first-frame", key)
        if found is None:
            picture = await self._decoder.image(await blobs.get(digest), width, height)
            if isinstance(family, ClipFamily):
                latents = await self._loaded.encode(partial(family.encode_clip, known=picture[None]))
            else:
                latents = (await in_thread(family.encode_still, self._loaded, picture))[None]
            read = await in_thread(family.read_frame, picture)
            found = await computed.keep(blobs, "first-frame", key, latents, warning=read.warning, facts=read.facts)
        return found.entry

    async def _clip(self, family: ClipFamily, blobs: Blobs, canvas: ManifestCanvas, tail: LatentRef | None) -> Array:
        """The clip that goes on after a video's tail: the same for all its branches, and whenever one is tried again.
        Without a tail that of nothing but grey, the same for all of its size."""
        kind, after = ("continued", f"{tail.blob}:{tail.start}:{tail.count}") if tail else ("blank", "")
        key = computed.key_of(self._loaded.session.digest, after, _clip_size(family, canvas.height, canvas.width))
        found = await self._found(blobs, kind, key)
        if found is None:
            async with self._clips:
                found = await computed.find(blobs, kind, key)
                if found is None:
                    found = await computed.keep(blobs, kind, key, await self._made(family, blobs, canvas, tail))
        return found.latents

    async def _made(self, family: ClipFamily, blobs: Blobs, canvas: ManifestCanvas, tail: LatentRef | None) -> Array:
        if tail:
            newest = await get_latents(blobs, tail)
            return await self._loaded.encode(partial(family.encode_continued, tail=newest))
        nothing = np.zeros((0, canvas.height, canvas.width, 3), np.uint8)
        return await self._loaded.encode(partial(family.encode_clip, known=nothing))

    async def _reference(self, call: InputsCall, digest: str, role: Role) -> EncodedPicture:
        family, blobs = self._loaded.family(call.model), self._loaded.blobs(call.tenant)
        can, canvas = family.capabilities, call.canvas
        scene = role == "scene"
        height, width = (None if scene else can.reference_size) or (canvas.height, canvas.width)
        key = computed.key_of(call.model_digest, digest, f"{'scene ' * scene}{height}x{width}")
        found = await self._found(blobs, "reference", key)
        if found is None:
            picture = await self._decoder.image(await blobs.get(digest), width, height, whole=can.reference_whole)
            read = await in_thread(family.read_reference, picture, role)
            latent = await in_thread(family.encode_still, self._loaded, read.picture)
            found = await computed.keep(
                blobs,
                "reference",
                key,
                latent[None],
                description=read.description,
                warning=read.warning,
                facts=read.facts,
            )
        return found.entry

    async def _found(self, blobs: Blobs, kind: str, key: str) -> Computed | None:
        found = await computed.find(blobs, kind, key)
        self._loaded.metrics.add(CACHE_LOOKUPS, kind=kind, outcome="hit" if found else "miss")
        return found


def _clip_size(family: Family, height: int, width: int) -> str:
    """Of a picture; of a clip its length too, which the same checkpoint may have been added with another of."""
    size = f"{height}x{width}"
    return f"{size}x{family.capabilities.root_latents}" if isinstance(family, ClipFamily) else size
