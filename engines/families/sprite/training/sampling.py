"""Makes segments of the sprite model's videos in batches, through whatever runs its graphs.

`score` samples here.  Serving makes one video at a time, step by step, in `../sampler.py`; the packing and the Euler
step are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engines.families.base import Engines
from engines.families.sprite import captions, packing, world
from engines.families.sprite.world import F32, U8


def encode_captions(engines: Engines, texts: Sequence[str]) -> F32:
    """[B, 14, 128]."""
    ids = np.stack([captions.tokenize(text) for text in texts])
    return _float(engines.infer("text_encoder", {"token_ids": ids})["text"])


def encode_pictures(engines: Engines, pictures: U8) -> F32:
    """uint8 [N, h, w, 3] -> latents [N, 16, h/8, w/8]."""
    frames = np.moveaxis(pictures.astype(np.float32) / 127.5 - 1, -1, 1)
    still = np.repeat(frames[:, None], world.FRAMES_PER_LATENT, axis=1)
    return _float(engines.infer("vae_encoder", {"frames": still})["latent"])


def decode_latents(engines: Engines, latents: F32, *, is_start: bool) -> U8:
    """Latents [B, T, 16, h, w] -> frames uint8 [B, F, H, W, 3]; unless `is_start` the first only leads."""
    first = engines.infer("vae_decoder_first", {"latent": np.ascontiguousarray(latents[:, 0])})
    groups = [_float(first["frame"])] if is_start else []
    cache = first["cache"]
    for k in range(1, latents.shape[1]):
        inputs = {"latent": np.ascontiguousarray(latents[:, k]), "cache_in": cache}
        found = engines.infer("vae_decoder_step", inputs)
        groups.append(_float(found["frames"]))
        cache = found["cache"]
    frames = np.moveaxis(np.concatenate(groups, 1), 2, -1)
    pixels: U8 = np.clip(np.rint((frames + 1) * 127.5), 0, 255).astype(np.uint8)
    return pixels


@dataclass(frozen=True)
class Given:
    """The conditions of a batch of segments; None where a condition is absent."""

    text: F32
    reference: F32 | None = None
    first: F32 | None = None
    """[B, 1, 16, h, w]"""
    anchor: F32 | None = None
    short: F32 | None = None


def sample(
    engines: Engines,
    given: Given,
    canvas: tuple[int, int],
    latents: int,
    rng: np.random.Generator,
    steps: int,
) -> F32:
    """Denoise segments of 5 (root) or 4 (extension) latents: [B, latents, 16, h, w]."""
    batch, (h, w) = len(given.text), (canvas[0] // world.LATENT_PX, canvas[1] // world.LATENT_PX)
    x = rng.standard_normal((batch, latents, world.LATENT_CHANNELS, h, w), dtype=np.float32)
    schedule = packing.times(steps)
    for now, then in pairwise(schedule.tolist()):
        if given.first is not None:
            x[:, :1] = given.first
        packed = packing.pack(x, reference=given.reference, anchor=given.anchor, short=given.short)
        where = packed.positions
        inputs: dict[str, npt.NDArray[np.generic]] = {
            "tokens": packed.tokens,
            "text": given.text,
            "row": where.row,
            "col": where.col,
            "frame": where.frame,
            "segment": where.segment,
            "levels": packing.levels(batch, now, first_given=given.first is not None),
        }
        clean = _float(engines.infer("dit", inputs)["x0"])[:, where.target]
        x = packing.euler(x, packing.unpatchify(clean, h, w), now, then)
    if given.first is not None:
        x[:, :1] = given.first
    return x


def _float(values: npt.NDArray[np.generic]) -> F32:
    return np.asarray(values, np.float32)
