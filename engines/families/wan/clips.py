"""What the Wan families share that are shown frames: a first frame, and the last ones of a video that is extended.

`vace.py`, `image.py` and `still.py` build upon it. An extension is a clip like a video's first segment, which begins
with the last frames of what it extends: they lie in front of its own latents, and are decoded before them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.checkpoints.files import Files
from engines.families.base import Array, EngineCall, Engines, Frames
from engines.families.buildable import Sizes
from engines.families.capabilities import Canvas
from engines.families.history import Before, HistoryPlan, Source
from engines.families.wan import video
from engines.families.wan.family import WanFamily


class WanClipFamily(WanFamily):
    """Implements what of `ClipFamily` is the same for all. What is not here is refused as `WanFamily` does."""

    takes_blank = False

    def __init__(self, files: Files, *, name: str, sizes: Sizes) -> None:
        """See `WanFamily`."""
        super().__init__(files, name=name, sizes=sizes)
        can = self.capabilities
        self.lead_latents = can.root_latents - can.segment_latents
        """Of an extension's clip, those that are known: it is as long as a root, and brings its lead itself."""
        self.history_latents = can.root_latents
        """From the first latent of a clip on: the VAE looks back further than any lead, 38 latents at 2.1's size."""

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:  # noqa: ARG002
        """The newest frames, and nothing else: what these models were trained with."""
        if not before.latents:
            return HistoryPlan()
        shown = tuple(range(max(0, before.latents - self.lead_latents), before.latents))
        return HistoryPlan((Source("newest", shown, self._tokens_of(before.canvas) * len(shown)),))

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

    def encode_continued(self, engines: Engines, tail: Array) -> Array:
        """Of a clip's latents, whole → those of the clip that begins with its last second."""
        shown = np.concatenate(list(self.decode(engines, tail, lead=None)))
        return self.encode_clip(engines, shown[-self._overlap :])

    def encode_tail(self, engines: Engines, frames: Frames) -> Array:
        """Of the last second, [`lead_latents`, C, h, w]; where there is less, its first frame stood still before."""
        newest = frames[-self._overlap :]
        still = np.repeat(newest[:1], self._overlap - len(newest), axis=0)
        return self.encode_video(engines, np.concatenate([still, newest]))

    def _used(self) -> Mapping[EngineCall, tuple[str, ...]]:
        used = super()._used()
        return {**used, "encode_video": ("vae_encoder_first", "vae_encoder_step", *used["decode"])}

    def _tokens_of(self, canvas: Canvas) -> int:
        """Of one latent."""
        _, rows, columns = self.architecture.patch
        stride = self.architecture.latent_stride
        return canvas.height // (rows * stride) * (canvas.width // (columns * stride))

    @property
    def _overlap(self) -> int:
        """Frames that an extension's clip begins with."""
        return self.capabilities.frames_of(self.lead_latents, root=True)

    @property
    def _frames(self) -> int:
        """Of a clip."""
        return self.capabilities.frames_of(self.capabilities.root_latents, root=True)

    def _encode(self, engines: Engines, known: Frames, frames: int) -> Array:
        return video.encode(engines, known, frames=frames, group=self.capabilities.frames_per_latent)
