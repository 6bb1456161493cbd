"""Random inputs of a Wan checkpoint's components, on which its engines are compared with their torch modules.

`family.py` hands them to `engines/building`. Sizes are small ones: the graphs take any, and the real ones take a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engines.families.base import Array
from engines.families.buildable import PROBE_SEED, Case
from engines.families.wan.architecture import TEXT_TOKENS, Architecture

SIZES: Final = ((1, 1, 4, 4), (2, 3, 4, 6))
"""Batch, latents, height and width in latents."""
_TOKENS: Final = 20
"""Of a prompt."""


def cases(architecture: Architecture) -> Iterator[Case]:
    """The text encoder and the denoiser, each in two sizes; the decoder's first step and, fed from nothing, no other.

    The decoder's later steps take caches whose shapes only its graph knows: whole runs compare them.
    """
    random = np.random.Generator(np.random.Philox(key=[PROBE_SEED, 0]))

    def draw(*shape: int) -> Array:
        return random.standard_normal(shape, dtype=np.float32)

    channels = architecture.latent_channels
    for batch, frames, height, width in SIZES:
        name = f"{batch} of {frames}x{height}x{width}"
        mask = np.zeros((batch, TEXT_TOKENS), np.int64)
        mask[:, :_TOKENS] = 1
        ids = random.integers(1, 30, (batch, TEXT_TOKENS)).astype(np.int64) * mask
        yield Case("text_encoder", name, {"token_ids": ids, "mask": mask})
        inputs = {
            "latents": draw(batch, channels, frames, height, width),
            "time": np.linspace(900, 100, batch, dtype=np.float32).round(),
            "text": draw(batch, TEXT_TOKENS, architecture.text_width),
        }
        yield Case("dit", name, inputs)
        yield Case("vae_decoder_first", name, {"latent": draw(batch, channels, height, width)})
