"""Random inputs of a Helios checkpoint's components, on which its engines are compared with their torch modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engines.families.buildable import Case
from engines.families.helios.architecture import CHUNK, SHOWN, Helios
from engines.families.wan.architecture import TEXT_TOKENS
from engines.families.wan.probes import Size, around, draw, generator, name_of

SIZES: Final[tuple[Size, ...]] = ((1, CHUNK, 8, 8), (2, CHUNK, 8, 16))
"""Batch, latents, height and width in latents."""


def cases(architecture: Helios) -> Iterator[Case]:
    """Each component in two sizes."""
    random = generator()
    for size in SIZES:
        yield from around(architecture, random, size, _denoiser(architecture, random, size), encodes=True)


def _denoiser(architecture: Helios, random: np.random.Generator, size: Size) -> Iterator[Case]:
    batch, frames, *sides = size
    channels = architecture.latent_channels
    inputs = {
        "latents": draw(random, batch, channels, frames, *sides),
        "time": np.linspace(900, 100, batch, dtype=np.float32),
        "text": draw(random, batch, TEXT_TOKENS, architecture.text_width),
        "history": draw(random, batch, channels, SHOWN, *sides),
    }
    yield Case("dit", name_of(size), inputs)
