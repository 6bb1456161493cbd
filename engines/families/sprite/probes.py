"""Random inputs of the sprite model's components, on which its engines are compared with their torch modules.

`family.py` hands them to `engines/building`. A case is a canvas and, for the denoiser, a set of conditions; component
inputs are batches of one and of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engines.families.base import Array, Conditions, Family
from engines.families.buildable import PROBE_SEED, Case
from engines.families.capabilities import Canvas
from engines.families.sprite import captions, packing, world
from engines.families.sprite.sampler import dit_inputs

STEPS: Final = 3
TEXT_WIDTH: Final = 128
CACHE_CHANNELS: Final = 128
"""Of the decoder's cache; `vae.py` says the same, and needs torch."""


def cases(family: Family) -> Iterator[Case]:
    """Each component on every canvas."""
    random = np.random.Generator(np.random.Philox(key=[PROBE_SEED, 0]))
    ids = random.integers(0, len(captions.VOCAB), (2, packing.TEXT_TOKENS)).astype(np.int64)
    yield Case("text_encoder", "two captions", {"token_ids": ids})
    for index, canvas in enumerate(family.capabilities.canvases):
        random = np.random.Generator(np.random.Philox(key=[PROBE_SEED, 1 + index]))
        height, width = canvas.height // world.LATENT_PX, canvas.width // world.LATENT_PX
        frames = random.uniform(-1, 1, (2, world.FRAMES_PER_LATENT, 3, canvas.height, canvas.width))
        latent = random.standard_normal((2, world.LATENT_CHANNELS, height, width), dtype=np.float32)
        yield Case("vae_encoder", canvas.aspect_ratio, {"frames": frames.astype(np.float32)})
        yield Case("vae_decoder_first", canvas.aspect_ratio, {"latent": latent})
        cache = random.standard_normal((2, CACHE_CHANNELS, height, width), dtype=np.float32)
        yield Case("vae_decoder_step", canvas.aspect_ratio, {"latent": latent, "cache_in": cache})
        for name, conditions in _conditions(canvas, random):
            state = family.start(conditions, seed=PROBE_SEED, segment=index, steps=STEPS)
            yield Case("dit", f"{canvas.aspect_ratio} {name}", dit_inputs([state], [0.7]))


def _conditions(canvas: Canvas, random: np.random.Generator) -> Iterator[tuple[str, Conditions]]:
    """Each set of conditions that the denoiser takes."""
    height, width = canvas.height // world.LATENT_PX, canvas.width // world.LATENT_PX

    def draw(*shape: int) -> Array:
        return random.standard_normal(shape, dtype=np.float32)

    text, channels = draw(packing.TEXT_TOKENS, TEXT_WIDTH), world.LATENT_CHANNELS
    reference = (draw(channels, 4, 4),)
    anchor, short = draw(1, channels, height, width), draw(packing.SHORT_LATENTS, channels, height, width)
    yield "root", Conditions(canvas, text)
    yield "root with first frame and reference", Conditions(canvas, text, reference, first=anchor)
    yield "extension", Conditions(canvas, text, anchor=anchor, short=short)
    yield "extension with reference", Conditions(canvas, text, reference, anchor=anchor, short=short)
