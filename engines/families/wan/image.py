"""The family of Wan's image-to-video models, 2.1 and 2.2: a video from text and a first frame, which it always needs.

`opening.py` takes it for checkpoints of that pipeline. What the denoiser is given beside the latents: for each latent
whether its frames are known, and the clip with its unknown frames grey; in 2.1 also what CLIP sees of the first frame.
An extension is the clip that begins with the last frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engines.families import step_cache
from engines.families.base import Array, Conditions, Denoising, EngineCall, Engines, Frames
from engines.families.wan import sampler
from engines.families.wan.clips import WanClipFamily
from engines.families.wan.sight import ENCODER


class WanImageFamily(WanClipFamily):
    """Implements `BuildableFamily`, `PreviewingFamily` and `ClipFamily`."""

    def encode_clip(self, engines: Engines, known: Frames) -> Array:
        """A clip's first frame, uint8 [1, H, W, 3], and grey after it → its latents [T, C, h, w], and behind them what
        CLIP sees of that frame (`sight.py`). Raises `ValueError` for another number of frames."""
        if len(known) != 1:
            raise ValueError(f"known: {len(known)} frames; a clip of this model begins with one")
        clip = super().encode_clip(engines, known)
        sight = self.architecture.sight
        if sight is None:
            return clip
        pixels = sight.pixels(known[0])[None]
        return sight.behind(clip, np.asarray(engines.infer(ENCODER, {"pixels": pixels})["picture"], np.float32)[0])

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a segment. Raises `ValueError` for conditions that this checkpoint does not take."""
        if conditions.references or conditions.memory or conditions.anchor is not None or conditions.image:
            raise ValueError("references, memory, anchor, image: this checkpoint makes videos of a first frame alone")
        given, latents = conditions.first if conditions.is_root else conditions.short, self.capabilities.root_latents
        if given is None:
            raise ValueError("first: this checkpoint makes no video without a first frame")
        sight = self.architecture.sight
        clip, *features = sight.apart(given, latents) if sight else (given,)
        if len(clip) != latents:
            raise ValueError(f"first, short: a clip of {latents} latents, as of `encode_clip`, is needed")
        return sampler.start(
            self.architecture,
            conditions,
            latents=latents,
            seed=seed,
            segment=segment,
            steps=steps,
            lead=0 if conditions.is_root else self.lead_latents,
            packed={"clip": clip, **({"picture": features[0]} if features else {})},
        )

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One step of UniPC of each, in place."""
        if step_cache.skips(states[0]):
            sampler.step(self.architecture, engines, states)
            return
        beside = {"condition": np.stack([self._condition(state) for state in states])}
        if self.architecture.sight is not None:
            beside["picture"] = np.stack([np.asarray(state.packed["picture"], np.float32) for state in states])
        sampler.step(self.architecture, engines, states, beside=beside)

    def _used(self) -> Mapping[EngineCall, tuple[str, ...]]:
        used = super()._used()
        return {**used, "encode_video": (*used["encode_video"], ENCODER)} if self.architecture.sight else used

    def _condition(self, state: Denoising) -> Array:
        """Which frames of each latent are known, 1 for those of the first one, above the clip: [4 + C, T, h, w]."""
        clip = state.packed["clip"]
        known = np.zeros((len(clip), self.capabilities.frames_per_latent, *clip.shape[2:]), np.float32)
        known[0] = 1
        return np.ascontiguousarray(np.moveaxis(np.concatenate([known, clip], 1), 1, 0), np.float32)
