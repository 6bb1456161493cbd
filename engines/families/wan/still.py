"""The family of Wan 2.2's model of 5B: a video from text, with a first frame or without.

`opening.py` takes it for checkpoints whose denoiser is told a time for each latent. A first frame is a latent that
stands where it will stand in the video, and has time 0; an extension begins so with the last frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.families.base import Array, Conditions, Denoising, Engines, Frames
from engines.families.wan import sampler
from engines.families.wan.clips import WanClipFamily


class WanStillFamily(WanClipFamily):
    """Implements `BuildableFamily`, `PreviewingFamily` and `ClipFamily`."""

    def encode_clip(self, engines: Engines, known: Frames) -> Array:
        """A clip's first frame, uint8 [1, H, W, 3] → its latent [1, C, h, w]: nothing of the frames after it is told.
        Raises `ValueError` for another number of frames."""
        if len(known) != 1:
            raise ValueError(f"known: {len(known)} frames; a clip of this model begins with one")
        return self.encode_video(engines, known)

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a segment. Raises `ValueError` for conditions that this checkpoint does not take."""
        if conditions.references or conditions.memory or conditions.anchor is not None:
            raise ValueError("references, memory, anchor: this checkpoint takes a first frame alone")
        still = conditions.first if conditions.is_root else conditions.short
        if still is not None and (len(still) != 1 or conditions.image):
            raise ValueError("first, short: one latent, as of `encode_clip`, and none for an image")
        state = sampler.start(
            self.architecture,
            conditions,
            latents=1 if conditions.image else self.capabilities.root_latents,
            seed=seed,
            segment=segment,
            steps=steps,
            lead=0 if conditions.is_root else self.lead_latents,
            packed={} if still is None else {"still": still},
        )
        _put_back(state)
        return state

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One step of UniPC of each, in place."""
        known = np.zeros((len(states), len(states[0].latents)), np.float32)
        known[:, 0] = ["still" in state.packed for state in states]
        sampler.step(self.architecture, engines, states, known=known)
        for state in states:
            _put_back(state)


def _put_back(state: Denoising) -> None:
    """The first frame is as it was given, whatever was said of it."""
    if "still" in state.packed:
        state.latents = np.concatenate([state.packed["still"], state.latents[1:]])
