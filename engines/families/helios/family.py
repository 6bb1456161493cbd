"""The family of Helios, for one checkpoint: what the stages and the builder use. Nothing here needs torch, save
`graphs`.

A segment is one of the model's chunks, of 9 latents. The denoiser is shown the video's first latent and the 19 newest
ones, in one input of constant size; what there is not yet is zero, as the model was trained. The VAE decodes each chunk
for itself, its first latent as the one frame of a beginning.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from engines.checkpoints import diffusers
from engines.checkpoints.files import Files
from engines.families import step_cache
from engines.families.base import Array, Conditions, Denoising, EngineCall, Engines, Frames
from engines.families.buildable import Case, Sizes
from engines.families.capabilities import Canvas
from engines.families.graph import GraphSpec
from engines.families.helios import architecture as architectures
from engines.families.helios import capabilities, history, probes, sampler
from engines.families.helios.architecture import HISTORY, SHOWN, Helios
from engines.families.history import Before, HistoryPlan
from engines.families.wan import video
from engines.families.wan.architecture import TEXT_TOKENS
from engines.families.wan.around import Around

_NOISE: Final = (0.111, 0.135)
"""What is shown of a video from elsewhere is noised a little, so far from none to all: as the model was trained."""
_NOISE_SEED: Final = 20


class HeliosFamily(Around):
    """Implements `BuildableFamily`, `PreviewingFamily` and `TailFamily` for the checkpoint in a folder."""

    architecture: Helios
    prebuilt = Path(__file__).parent / "prebuilt"
    lead_latents = 0
    history_latents = HISTORY

    def __init__(self, files: Files, *, name: str, sizes: Sizes) -> None:
        """`name` is what requests call it; to serve, the small files are enough.

        Raises `CheckpointUnfit` for a checkpoint that is not served, or not in these sizes.
        """
        found = architectures.read(files)
        super().__init__(files, found, capabilities.of(found, name, sizes))
        self.probe_canvases = capabilities.small(found)

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:  # noqa: ARG002  (whatever it shows)
        """The first latent, and the 19 newest ones."""
        return history.plan(before, latent_tokens=self._tokens_of(before.canvas))

    def encode_still(self, engines: Engines, picture: Frames) -> Array:  # noqa: ARG002
        """Refused: raises `ValueError`."""
        raise ValueError("first_frame, references: this model makes a video from text, or goes on after one")

    def encode_video(self, engines: Engines, frames: Frames) -> Array:
        """uint8 [F, H, W, 3] → latents [T, C, h, w], a little noised: from the end in whole chunks, each encoded for
        itself, and what is left in front of them as a shorter one. Raises `ValueError` for frames that make none."""
        can, count = self.capabilities, len(frames)
        if not count or can.frames_of(can.latents_of(count), root=True) != count:
            raise ValueError(
                f"frames: {count}; one, and whole groups of {can.frames_per_latent} after it, in each chunk"
            )
        chunk = can.frames_of(can.segment_latents, root=False)
        bounds = [*([0] if count % chunk else []), *range(count % chunk, count + 1, chunk)]
        latents = np.concatenate(
            [
                video.encode(engines, frames[begin:end], frames=end - begin, group=can.frames_per_latent)
                for begin, end in pairwise(bounds)
            ]
        )
        random = np.random.Generator(np.random.Philox(key=[_NOISE_SEED, len(latents)]))
        share = random.uniform(*_NOISE, (len(latents), 1, 1, 1)).astype(np.float32)
        return np.asarray(share * random.standard_normal(latents.shape, np.float32) + (1 - share) * latents, np.float32)

    def encode_tail(self, engines: Engines, frames: Frames) -> Array:
        """Of a video from elsewhere its newest latents, at most 19."""
        return self.encode_video(engines, frames)

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a chunk. Raises `ValueError` for conditions that this model does not take."""
        if conditions.references or conditions.first is not None:
            raise ValueError("references, first: this model makes a video from text, or goes on after one")
        if len(conditions.text) != 2 * TEXT_TOKENS:
            raise ValueError(f"text: {len(conditions.text)} tokens; prompt and negative prompt have {TEXT_TOKENS} each")
        text = conditions.text.reshape(2, TEXT_TOKENS, -1)
        shown = self._shown(conditions)
        return sampler.start(self.architecture, text, shown, seed=seed, segment=segment, steps=steps)

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One step of each, in place."""
        sampler.step(self.architecture, engines, states)

    def batch_key(self, state: Denoising) -> Hashable:
        """The size, and whether the step is computed: every state has its own time, text and history."""
        return state.latents.shape, step_cache.skips(state)

    def decode(self, engines: Engines, latents: Array, *, lead: Array | None) -> Iterator[Frames]:  # noqa: ARG002
        """Frame groups, uint8 [1 or 4, H, W, 3], in order; a chunk's first latent gives one frame."""
        return video.decode(engines, latents)

    def graphs(self, weights: Files, digests: Mapping[str, str] | None = None) -> Mapping[str, GraphSpec]:
        """The graphs of this checkpoint. Needs torch, diffusers and transformers."""
        from engines.families.helios import graphs

        recorded = digests or diffusers.record(weights, self.architecture.checkpoint)
        return graphs.components(weights, self.architecture, recorded)

    def cases(self) -> Iterator[Case]:
        """See `probes.py`."""
        return probes.cases(self.architecture)

    def _shown(self, conditions: Conditions) -> Array:
        """What the denoiser is given beside the chunk, [20, C, h, w]. Raises `ValueError`."""
        can, canvas, anchor, short = self.capabilities, conditions.canvas, conditions.anchor, conditions.short
        shown = np.zeros(
            (SHOWN, can.latent_channels, canvas.height // can.latent_stride, canvas.width // can.latent_stride),
            np.float32,
        )
        if conditions.is_root:
            if conditions.memory:
                raise ValueError("memory: a video's first segment has none")
            return shown
        if anchor is None or short is None or len(conditions.memory) + len(short) > HISTORY:
            raise ValueError(f"anchor, memory, short: the first two, and at most {HISTORY} latents of the last two")
        shown[0] = anchor[0]
        known = np.concatenate([*(latent[None] for latent in conditions.memory), short])
        shown[SHOWN - len(known) :] = known
        return shown

    def _tokens_of(self, canvas: Canvas) -> int:
        """Of one latent at its own scale."""
        _, rows, columns = self.architecture.patch
        stride = self.architecture.latent_stride
        return canvas.height // (rows * stride) * (canvas.width // (columns * stride))

    def _used(self) -> Mapping[EngineCall, tuple[str, ...]]:
        return {
            "encode_text": ("text_encoder",),
            "step": ("dit", "preview"),
            "decode": ("vae_decoder_first", "vae_decoder_step"),
            "encode_video": ("vae_encoder_first", "vae_encoder_step"),
        }
