"""The family of the Wan-VACE models: a video from text, from frames that are known, and with references.

`families/registry.py` names it for the pipeline that such checkpoints were saved from. All else is `family.py`'s: the
prompt, the sampler and the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engines.families.base import (
    Array,
    Conditions,
    Denoising,
    EngineCall,
    Engines,
    Frames,
    ReferenceReading,
)
from engines.families.wan import control, sampler, video
from engines.families.wan.family import WanFamily


class WanVaceFamily(WanFamily):
    """Implements `BuildableFamily` and `ClipFamily`."""

    components: tuple[str, ...] = (*WanFamily.components, "vae_encoder_first", "vae_encoder_step")
    uses: Mapping[EngineCall, tuple[str, ...]] = {
        **WanFamily.uses,
        "encode_video": ("vae_encoder_first", "vae_encoder_step"),
    }

    def read_reference(self, picture: Frames) -> ReferenceReading:
        """The picture as it is: this model reads all of it."""
        return ReferenceReading(picture, f"a picture, seen as {picture.shape[1]}x{picture.shape[0]} pixels")

    def encode_still(self, engines: Engines, picture: Frames) -> Array:
        """A picture, uint8 [H, W, 3] → its latent [C, h, w]."""
        latent: Array = self.encode_video(engines, picture[None])[0]
        return latent

    def encode_video(self, engines: Engines, frames: Frames) -> Array:
        """uint8 [4k+1, H, W, 3] → latents [k+1, C, h, w]. Raises `ValueError` for another number of frames."""
        can = self.capabilities
        if not len(frames) or can.frames_of(can.latents_of(len(frames)), root=True) != len(frames):
            raise ValueError(f"frames: {len(frames)}; one, and whole groups of {can.frames_per_latent} after it")
        return self._encode(engines, frames, len(frames))

    def encode_clip(self, engines: Engines, known: Frames) -> Array:
        """A root's first frames, uint8 [K, H, W, 3], and grey after them → its latents [T, C, h, w]. Raises
        `ValueError` for more frames than it has."""
        if len(known) > self._frames:
            raise ValueError(f"known: {len(known)} frames; a clip has {self._frames}")
        return self._encode(engines, known, self._frames)

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a segment. Raises `ValueError` for conditions that this checkpoint does not take."""
        can = self.capabilities
        if not conditions.is_root or len(conditions.references) > can.references_max:
            raise ValueError(f"anchor, short, references: none are taken, and at most {can.references_max} references")
        clip = conditions.blank if conditions.first is None else conditions.first
        if clip is None or conditions.blank is None or {len(clip), len(conditions.blank)} != {can.root_latents}:
            raise ValueError(f"first, blank: clips of {can.root_latents} latents are needed, as of `encode_clip`")
        known = 0 if conditions.first is None else 1
        return sampler.start(
            self.architecture,
            conditions,
            latents=can.root_latents,
            seed=seed,
            segment=segment,
            steps=steps,
            beside=len(conditions.references),
            packed={
                # As the models were trained, each picture lies in front of those before it.
                "references": np.array(conditions.references[::-1], np.float32).reshape(-1, *clip.shape[1:]),
                "clip": clip,
                "blank": conditions.blank,
                "unknown": control.unknown(known, latents=can.root_latents, frames=self._frames),
            },
        )

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One step of UniPC of each, in place."""
        # Assembled anew for each step: held for every unfinished segment, it would be six times the parts.
        shown = [control.assembled(state.packed, self.architecture.condition_channels) for state in states]
        sampler.step(self.architecture, engines, states, condition=np.stack(shown))

    @property
    def _frames(self) -> int:
        """Of a clip."""
        return self.capabilities.frames_of(self.capabilities.root_latents, root=True)

    def _encode(self, engines: Engines, known: Frames, frames: int) -> Array:
        return video.encode(engines, known, frames=frames, group=self.capabilities.frames_per_latent)
