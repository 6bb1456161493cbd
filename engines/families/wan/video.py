"""Pixels to latents and back, latent by latent, through the steppers of a Wan checkpoint's VAE.

`family.py` and `vace.py` call it. What one call leaves behind for the next are the caches of the VAE's causal
convolutions, handed from engine to engine as they come (`graphs.py` tells their shapes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array, Engines, Frames


def decode(engines: Engines, latents: Iterable[Array]) -> Iterator[Frames]:
    """A video's latents [C, h, w] from its first one on → the frames of each, uint8 [1 or 4, H, W, 3]."""
    for found in _through(engines, "vae_decoder", "latent", latents, "frames"):
        yield pixels(found[0])


def pixels(values: Array) -> Frames:
    """Frames as the engines give them, [F, 3, H, W] in -1..1 → uint8 [F, H, W, 3]."""
    shown = np.moveaxis(values, 1, -1)
    return np.ascontiguousarray(np.rint((shown * 0.5 + 0.5).clip(0, 1) * 255).astype(np.uint8))


def encode(engines: Engines, known: Frames, *, frames: int, group: int) -> Array:
    """A video of so many frames, the first ones known, uint8 [K, H, W, 3], and the others grey → latents [T, C, h, w].

    `group`: frames of every latent but the first, which has one.
    """
    bounds = [0, *range(1, frames + 1, group)]
    groups = (_values(known, begin, end) for begin, end in pairwise(bounds))
    return np.concatenate(list(_through(engines, "vae_encoder", "frames", groups, "latent")))


def _through(engines: Engines, component: str, given: str, values: Iterable[Array], result: str) -> Iterator[Array]:
    """What the engines make of each value, batches of one; the caches go from one call to the next."""
    caches: dict[str, NDArray[np.generic]] = {}
    for number, value in enumerate(values):
        engine = f"{component}_step" if number else f"{component}_first"
        found = engines.infer(engine, {given: np.ascontiguousarray(value[None]), **caches})
        caches = {f"{name}_in": cache for name, cache in found.items() if name != result}
        yield np.asarray(found[result], np.float32)


def _values(known: Frames, begin: int, end: int) -> Array:
    """Frames as the encoder takes them, [f, 3, H, W] in -1..1: grey is 0."""
    values = np.zeros((end - begin, 3, *known.shape[1:3]), np.float32)
    there = np.moveaxis(known[begin:end], -1, 1)
    values[: len(there)] = there.astype(np.float32) / 127.5 - 1
    return values
