"""Captions and pictures become conditions: made once and cached, made again where the store lost them, refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from engines.families.base import Array, EngineCall, Engines
from engines.families.sprite.family import SpriteFamily
from engines.session import Session
from serving.errors import Corrupt, FailedPrecondition, InvalidArgument
from serving.media.sandbox import Decoder
from serving.media.still import png
from serving.segments.manifest import LatentRef
from serving.stages.condition import Conditioner
from serving.stages.contracts import (
    ConditionCall,
    InputsCall,
    TextCall,
)
from serving.stages.latents import get_latents, put_latents
from serving.stages.loaded import Loaded
from serving.stages.text import TextEncoder
from tests.unit.serving.stages.small import CANVAS, CAPTION, MODEL, TENANT, calls, text_of

pytestmark = pytest.mark.anyio


class Worded(SpriteFamily):
    """As if its captions were encoded by an engine: for want of another, by the one that sees."""

    uses: Mapping[EngineCall, tuple[str, ...]] = {**SpriteFamily.uses, "encode_text": ("vae_encoder",)}

    def encode_text(self, engines: Engines, effective_prompt: str, negative_prompt: str = "") -> Array:
        grey = np.full((64, 64, 3), len(effective_prompt), np.uint8)
        return self.encode_still(engines, grey).reshape(16, 64)


def worded(loaded: Loaded) -> Loaded:
    """With captions that take an engine."""
    return replace(loaded, session=Session(Worded(), loaded.session.runners, digest=loaded.session.digest))


async def test_a_caption_is_embedded_once_within_a_tenant(loaded: Loaded) -> None:
    loaded = worded(loaded)
    before = calls(loaded, "vae_encoder")
    first, again = await text_of(loaded), await text_of(loaded)
    assert calls(loaded, "vae_encoder") == before + 1
    np.testing.assert_array_equal(first, again)

    await text_of(loaded, tenant="other")

    assert calls(loaded, "vae_encoder") == before + 2


async def test_a_picture_is_decoded_and_encoded_once(loaded: Loaded) -> None:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[8:40, 8:40] = (20, 20, 230)
    digest = await loaded.blobs(TENANT).put(png(picture))
    conditioner = Conditioner(loaded, Decoder())
    call = InputsCall(TENANT, MODEL, "d" * 64, CANVAS, first_frame=digest, references=(digest,))
    before = calls(loaded, "vae_encoder")

    first, again = await conditioner.read_inputs(call), await conditioner.read_inputs(call)

    assert first == again
    assert calls(loaded, "vae_encoder") == before + 2
    assert first.effective_references[0]
    conditions = await conditioner.condition(
        ConditionCall(TENANT, MODEL, CANVAS, first.first_frame, first.references), await text_of(loaded)
    )
    assert conditions.is_root
    assert conditions.first is not None
    assert (conditions.first.shape, conditions.references[0].shape) == ((1, 16, 8, 8), (16, 2, 2))


@pytest.mark.parametrize("broken", [False, True], ids=["lost", "broken"])
async def test_what_the_cache_names_and_the_store_lost_is_computed_again(loaded: Loaded, broken: bool) -> None:
    loaded = worded(loaded)
    picture = await loaded.blobs(TENANT).put(png(np.full((64, 64, 3), 90, np.uint8)))
    call = InputsCall(TENANT, MODEL, "d" * 64, CANVAS, first_frame=picture, references=(picture,))
    conditioner = Conditioner(loaded, Decoder())
    text, inputs = await text_of(loaded), await conditioner.read_inputs(call)
    async for entry in loaded.store.list(f"t/{TENANT}/blobs/"):
        if entry.key.endswith(picture):
            continue
        if broken:
            there = await loaded.store.get(entry.key)
            await loaded.store.swap(entry.key, there.data[:-1] + bytes([there.data[-1] ^ 1]), there.version)
        else:
            await loaded.store.delete(entry.key)

    np.testing.assert_array_equal(await text_of(loaded), text)
    assert await conditioner.read_inputs(call) == inputs
    assert inputs.first_frame is not None
    await get_latents(loaded.blobs(TENANT), inputs.first_frame)
    before = calls(loaded, "vae_encoder")
    await text_of(loaded)
    await conditioner.read_inputs(call)
    assert calls(loaded, "vae_encoder") == before


async def test_a_picture_that_is_none_is_refused(loaded: Loaded) -> None:
    digest = await loaded.blobs(TENANT).put(b"GIF89a and then nothing")

    with pytest.raises(InvalidArgument):
        await Conditioner(loaded, Decoder()).read_inputs(
            InputsCall(TENANT, MODEL, "d" * 64, CANVAS, references=(digest,))
        )


async def test_a_call_for_another_model_is_refused(loaded: Loaded) -> None:
    with pytest.raises(FailedPrecondition, match="sprite-2"):
        await TextEncoder(loaded).embed(TextCall(TENANT, "wan", "d" * 64, CAPTION))


async def test_latents_beyond_their_blob_are_corrupt(loaded: Loaded) -> None:
    blobs = loaded.blobs(TENANT)
    ref = await put_latents(blobs, np.zeros((4, 16, 8, 8), np.float32))

    with pytest.raises(Corrupt, match="4 latents, not 6"):
        await get_latents(blobs, LatentRef(blob=ref.blob, start=2, count=4))
    with pytest.raises(Corrupt):
        await get_latents(blobs, LatentRef(blob=await blobs.put(b"junk"), start=0, count=1))
