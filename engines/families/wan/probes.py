"""Random inputs of a Wan checkpoint's components, on which its engines are compared with their torch modules.

`family.py` hands them to `engines/building`. Sizes are small ones: the graphs take any, and the real ones take a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from engines.families.base import Array
from engines.families.buildable import PROBE_SEED, Case
from engines.families.wan.architecture import TEXT_TOKENS, Architecture
from engines.families.wan.caches import decoder_caches, encoder_caches
from engines.families.wan.sight import ENCODER

SIZES: Final = ((1, 1, 4, 4), (2, 3, 4, 6))
"""Batch, latents, height and width in latents."""
_TOKENS: Final = 20
"""Of a prompt."""
_Draw = Callable[..., Array]
"""Random values of a shape."""


def cases(architecture: Architecture) -> Iterator[Case]:
    """Each component in two sizes."""
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
        for engine in architecture.denoisers.values():
            yield Case(engine, name, _denoiser(architecture, draw, (batch, frames, height, width)))
        latent = {"latent": draw(batch, channels, height, width)}
        yield Case("vae_decoder_first", name, latent)
        yield Case("preview", name, latent)
        caches = {
            f"cache_{number}_in": draw(batch, kept, 2, scale * height, scale * width)
            for number, (kept, scale) in enumerate(decoder_caches(architecture))
        }
        yield Case("vae_decoder_step", name, {**latent, **caches})
        if architecture.task != "text":
            yield from _encoder(architecture, name, draw, (batch, height, width))
        if architecture.sight is not None:
            side = architecture.sight.side
            yield Case(ENCODER, name, {"pixels": draw(batch, 3, side, side)})


def _denoiser(architecture: Architecture, draw: _Draw, size: tuple[int, int, int, int]) -> dict[str, Array]:
    batch, frames, *_ = size
    time = np.linspace(900, 100, batch, dtype=np.float32).round()
    if architecture.task == "still":
        time = np.repeat(time[:, None], frames, 1)
        time[:, 0] = 0
    inputs = {
        "latents": draw(batch, architecture.latent_channels, *size[1:]),
        "time": time,
        "text": draw(batch, TEXT_TOKENS, architecture.text_width),
    }
    if architecture.condition_channels:
        inputs["condition"] = draw(batch, architecture.condition_channels, *size[1:])
    if architecture.sight is not None:
        inputs["picture"] = draw(batch, architecture.sight.tokens, architecture.sight.width)
    return inputs


def _encoder(architecture: Architecture, name: str, draw: _Draw, size: tuple[int, int, int]) -> Iterator[Case]:
    batch, height, width = size
    stride = architecture.latent_stride
    pixels = (3, stride * height, stride * width)
    yield Case("vae_encoder_first", name, {"frames": draw(batch, 1, *pixels)})
    caches = {
        f"cache_{number}_in": draw(batch, kept, frames, scale * height, scale * width)
        for number, (kept, scale, frames) in enumerate(encoder_caches(architecture))
    }
    frames = {"frames": draw(batch, architecture.frames_per_latent, *pixels)}
    yield Case("vae_encoder_step", name, {**frames, **caches})
