"""Random inputs of a Wan checkpoint's components, on which its engines are compared with their torch modules.

`family.py` hands them to `engines/building`. Sizes are small ones: the graphs take any, and the real ones take a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engines.families.base import Array
from engines.families.buildable import PROBE_SEED, Case
from engines.families.wan.architecture import TEXT_TOKENS, Architecture, Parts
from engines.families.wan.caches import decoder_caches, encoder_caches
from engines.families.wan.sight import ENCODER

SIZES: Final = ((1, 1, 4, 4), (2, 3, 4, 6))
"""Batch, latents, height and width in latents."""
_TOKENS: Final = 20
"""Of a prompt."""
Size = tuple[int, int, int, int]


def generator() -> np.random.Generator:
    """What all of a checkpoint's probes are drawn from, in order."""
    return np.random.Generator(np.random.Philox(key=[PROBE_SEED, 0]))


def draw(random: np.random.Generator, *shape: int) -> Array:
    """Random values of a shape."""
    return random.standard_normal(shape, dtype=np.float32)


def cases(architecture: Architecture) -> Iterator[Case]:
    """Each component in two sizes."""
    random = generator()
    for size in SIZES:
        name = name_of(size)
        denoisers = (
            Case(engine, name, _denoiser(architecture, random, size)) for engine in architecture.denoisers.values()
        )
        yield from around(architecture, random, size, denoisers, encodes=architecture.task != "text")
        if architecture.sight is not None:
            side = architecture.sight.side
            yield Case(ENCODER, name, {"pixels": draw(random, size[0], 3, side, side)})


def name_of(size: Size) -> str:
    """Of the cases of this size."""
    batch, frames, height, width = size
    return f"{batch} of {frames}x{height}x{width}"


def around(
    architecture: Parts, random: np.random.Generator, size: Size, denoisers: Iterator[Case], *, encodes: bool
) -> Iterator[Case]:
    """Those of the denoisers, drawn in their turn, and of what stands around them (`graphs.around`)."""
    (batch, _, height, width), name = size, name_of(size)
    mask = np.zeros((batch, TEXT_TOKENS), np.int64)
    mask[:, :_TOKENS] = 1
    ids = random.integers(1, 30, (batch, TEXT_TOKENS)).astype(np.int64) * mask
    yield Case("text_encoder", name, {"token_ids": ids, "mask": mask})
    yield from denoisers
    latent = {"latent": draw(random, batch, architecture.latent_channels, height, width)}
    yield Case("vae_decoder_first", name, latent)
    yield Case("preview", name, latent)
    caches = {
        f"cache_{number}_in": draw(random, batch, kept, 2, scale * height, scale * width)
        for number, (kept, scale) in enumerate(decoder_caches(architecture))
    }
    yield Case("vae_decoder_step", name, {**latent, **caches})
    if encodes:
        yield from _encoder(architecture, name, random, (batch, height, width))


def _denoiser(architecture: Architecture, random: np.random.Generator, size: Size) -> dict[str, Array]:
    batch, frames, *_ = size
    time = np.linspace(900, 100, batch, dtype=np.float32).round()
    if architecture.task == "still":
        time = np.repeat(time[:, None], frames, 1)
        time[:, 0] = 0
    inputs = {
        "latents": draw(random, batch, architecture.latent_channels, *size[1:]),
        "time": time,
        "text": draw(random, batch, TEXT_TOKENS, architecture.text_width),
    }
    if architecture.condition_channels:
        inputs["condition"] = draw(random, batch, architecture.condition_channels, *size[1:])
    if architecture.sight is not None:
        inputs["picture"] = draw(random, batch, architecture.sight.tokens, architecture.sight.width)
    return inputs


def _encoder(architecture: Parts, name: str, random: np.random.Generator, size: tuple[int, int, int]) -> Iterator[Case]:
    batch, height, width = size
    stride = architecture.latent_stride
    pixels = (3, stride * height, stride * width)
    yield Case("vae_encoder_first", name, {"frames": draw(random, batch, 1, *pixels)})
    caches = {
        f"cache_{number}_in": draw(random, batch, kept, frames, scale * height, scale * width)
        for number, (kept, scale, frames) in enumerate(encoder_caches(architecture))
    }
    frames = {"frames": draw(random, batch, architecture.frames_per_latent, *pixels)}
    yield Case("vae_encoder_step", name, {**frames, **caches})
