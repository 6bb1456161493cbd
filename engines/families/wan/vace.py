"""The family of the Wan-VACE models: a video from text, from frames that are known, and with references.

`families/registry.py` names it for the pipeline that such checkpoints were saved from. All else is `family.py`'s: the
prompt, the sampler and the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engines.checkpoints.files import Files
from engines.families.base import Array, Conditions, Denoising, EngineCall, Engines, Frames, ReferenceReading
from engines.families.buildable import Sizes
from engines.families.capabilities import Role
from engines.families.history import Before, HistoryPlan
from engines.families.wan import control, history, sampler, video
from engines.families.wan.family import WanFamily


class WanVaceFamily(WanFamily):
    """Implements `BuildableFamily`, `PreviewingFamily` and `ClipFamily`."""

    components: tuple[str, ...] = (*WanFamily.components, "vae_encoder_first", "vae_encoder_step")
    uses: Mapping[EngineCall, tuple[str, ...]] = {
        **WanFamily.uses,
        "encode_video": ("vae_encoder_first", "vae_encoder_step", *WanFamily.uses["decode"]),
    }

    def __init__(self, files: Files, *, name: str, sizes: Sizes) -> None:
        """See `WanFamily`."""
        super().__init__(files, name=name, sizes=sizes)
        can = self.capabilities
        self.lead_latents = can.root_latents - can.segment_latents
        """Of an extension's clip, those that are known: it is as long as a root, and brings its lead itself."""
        self.history_latents = can.root_latents
        """From the first latent of a clip on: the VAE looks back further than any lead, 38 latents at 2.1's size."""

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:
        """The last second, the first latent, the user's pictures, and keyframes: see `history.py`."""
        _, rows, columns = self.architecture.patch
        stride, canvas = self.architecture.latent_stride, before.canvas
        tokens = canvas.height // (rows * stride) * (canvas.width // (columns * stride))
        return history.plan(effective_prompt, before, lead=self.lead_latents, latent_tokens=tokens)

    def read_reference(self, picture: Frames, role: Role = "subject") -> ReferenceReading:  # noqa: ARG002
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

    def encode_continued(self, engines: Engines, tail: Array) -> Array:
        """Of a clip's latents, whole → those of the clip that begins with its last second."""
        shown = np.concatenate(list(self.decode(engines, tail, lead=None)))
        return self.encode_clip(engines, shown[-self._overlap :])

    def encode_tail(self, engines: Engines, frames: Frames) -> Array:
        """Of the last second, [`lead_latents`, C, h, w]; where there is less, its first frame stood still before."""
        newest = frames[-self._overlap :]
        still = np.repeat(newest[:1], self._overlap - len(newest), axis=0)
        return self.encode_video(engines, np.concatenate([still, newest]))

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a segment. Raises `ValueError` for conditions that this checkpoint does not take."""
        shown, (clip, blank, known) = self._references(conditions), self._clips(conditions)
        frames = self.capabilities.frames_of(len(clip), root=True)
        return sampler.start(
            self.architecture,
            conditions,
            latents=len(clip),
            seed=seed,
            segment=segment,
            steps=steps,
            beside=len(shown),
            lead=0 if conditions.is_root else self.lead_latents,
            packed={
                "references": np.array(shown, np.float32).reshape(-1, *clip.shape[1:]),
                "clip": clip,
                "blank": blank,
                "unknown": control.unknown(known, latents=len(clip), frames=frames),
            },
        )

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One step of UniPC of each, in place."""
        # Assembled anew for each step: held for every unfinished segment, it would be six times the parts.
        shown = [control.assembled(state.packed, self.architecture.condition_channels) for state in states]
        sampler.step(self.architecture, engines, states, condition=np.stack(shown))

    def _clips(self, conditions: Conditions) -> tuple[Array, Array, int]:
        """The clip, the one of which nothing is known, and how many frames of the first are known. Raises
        `ValueError`."""
        can, blank = self.capabilities, conditions.blank
        if conditions.is_root:
            clip, known = (blank, 0) if conditions.first is None else (conditions.first, 1)
        else:
            clip, known = conditions.short, self._overlap
        if clip is None or blank is None or {len(clip), len(blank)} != {can.root_latents}:
            raise ValueError(
                f"first, short, blank: clips of {can.root_latents} latents, as of `encode_clip`, are needed"
            )
        if not conditions.image:
            return clip, blank, known
        if known:
            raise ValueError("first, short: an image begins with neither")
        # The VAE is causal: the first latent of grey is that of one grey frame.
        return clip[:1], blank[:1], known

    def _references(self, conditions: Conditions) -> tuple[Array, ...]:
        """What the whole clip is to be like, as it lies in front of it: keyframes, what an extended video began with,
        and the user's pictures. Raises `ValueError`."""
        can, given = self.capabilities, conditions.references
        if len(given) > can.references_max:
            raise ValueError(f"references: {len(given)}; at most {can.references_max} are taken")
        pictures = given[::-1]  # as the models were trained, each picture lies in front of those before it
        if conditions.is_root:
            if conditions.memory:
                raise ValueError("memory: a video's first segment has none")
            return pictures
        if not can.extension or conditions.anchor is None or conditions.first is not None:
            raise ValueError("anchor, short, first: an extension takes the first two, where there is one")
        # A video's first latent is that of a still, as references are, and so are those that the plan names.
        shown = (*conditions.memory, conditions.anchor[0], *pictures)
        if len(shown) > history.BESIDE:
            raise ValueError(f"memory, references: {len(shown)} with the anchor; at most {history.BESIDE} are taken")
        return shown

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
