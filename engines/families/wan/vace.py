"""The family of the Wan-VACE models: a video from text, from frames that are known, and with references.

`opening.py` takes it for checkpoints of that pipeline. How clips are encoded is `clips.py`'s, all else `family.py`'s:
the prompt, the sampler and the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.families import step_cache
from engines.families.base import Array, Conditions, Denoising, Engines, Frames, ReferenceReading
from engines.families.capabilities import Role
from engines.families.history import Before, HistoryPlan
from engines.families.wan import control, history, sampler
from engines.families.wan.clips import WanClipFamily


class WanVaceFamily(WanClipFamily):
    """Implements `BuildableFamily`, `PreviewingFamily` and `ClipFamily`."""

    takes_blank = True

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:
        """The last second, the first latent, the user's pictures, and keyframes: see `history.py`."""
        return history.plan(
            effective_prompt, before, lead=self.lead_latents, latent_tokens=self._tokens_of(before.canvas)
        )

    def read_reference(self, picture: Frames, role: Role = "subject") -> ReferenceReading:  # noqa: ARG002
        """The picture as it is: this model reads all of it."""
        return ReferenceReading(picture, f"a picture, seen as {picture.shape[1]}x{picture.shape[0]} pixels")

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
        if step_cache.skips(states[0]):
            sampler.step(self.architecture, engines, states)
            return
        # Assembled anew for each step: held for every unfinished segment, it would be six times the parts.
        shown = [control.assembled(state.packed, self.architecture.condition_channels) for state in states]
        sampler.step(self.architecture, engines, states, beside={"condition": np.stack(shown)})

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
