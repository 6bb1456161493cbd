"""The family of the Wan models, for one checkpoint: what the stages and the builder use.

`opening.py` takes it for text-to-video checkpoints; `clips.py` builds upon it for those that take more. Nothing here
needs torch, save `graphs`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from engines.checkpoints import diffusers
from engines.checkpoints.adapters import Layer
from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit
from engines.families import step_cache
from engines.families.base import Array, Conditions, Denoising, EngineCall, Engines, Frames
from engines.families.buildable import Case, Sizes
from engines.families.graph import GraphSpec
from engines.families.history import Before, HistoryPlan
from engines.families.wan import architecture as architectures
from engines.families.wan import capabilities, probes, sampler, video
from engines.families.wan.architecture import Architecture
from engines.families.wan.around import Around
from engines.families.wan.layers import layers


class WanFamily(Around):
    """Implements `BuildableFamily` and `PreviewingFamily` for the checkpoint in a folder."""

    architecture: Architecture
    prebuilt = Path(__file__).parent / "prebuilt"
    lead_latents = 1
    history_latents = 1
    """Neither counts: this family extends nothing."""

    def __init__(self, files: Files, *, name: str, sizes: Sizes) -> None:
        """`name` is what requests call it; to serve, the small files are enough.

        Raises `CheckpointUnfit` for a checkpoint that is not served, or not in these sizes.
        """
        found = architectures.read(files)
        super().__init__(files, found, capabilities.of(found, name, sizes))
        self.probe_canvases = capabilities.small(found)

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:  # noqa: ARG002
        """Nothing: this checkpoint is shown its caption alone."""
        return HistoryPlan()

    def encode_still(self, engines: Engines, picture: Frames) -> Array:  # noqa: ARG002
        """Refused: raises `ValueError`."""
        raise ValueError("first_frame: this checkpoint makes a video from text alone")

    def encode_video(self, engines: Engines, frames: Frames) -> Array:  # noqa: ARG002
        """Refused: raises `ValueError`."""
        raise ValueError("extension: this checkpoint makes a video from text alone")

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a segment. Raises `ValueError` for conditions that this checkpoint does not take."""
        if conditions.references or conditions.memory or conditions.first is not None or not conditions.is_root:
            raise ValueError("references, first, anchor, short, memory: this checkpoint makes a video from text alone")
        return sampler.start(
            self.architecture,
            conditions,
            latents=1 if conditions.image else self.capabilities.root_latents,
            seed=seed,
            segment=segment,
            steps=steps,
            packed={},
        )

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One step of UniPC of each, in place."""
        sampler.step(self.architecture, engines, states)

    def batch_key(self, state: Denoising) -> Hashable:
        """The size, the denoiser and whether the step is computed: every state has its own time and text."""
        return state.latents.shape, sampler.denoiser(self.architecture, state), step_cache.skips(state)

    def decode(self, engines: Engines, latents: Array, *, lead: Array | None) -> Iterator[Frames]:
        """Frame groups, uint8 [1 or 4, H, W, 3], in order; the first latent that is decoded gives one frame."""
        shown = 0 if lead is None else len(lead)
        return islice(video.decode(engines, latents if lead is None else np.concatenate([lead, latents])), shown, None)

    def graphs(self, weights: Files, digests: Mapping[str, str] | None = None) -> Mapping[str, GraphSpec]:
        """The graphs of this checkpoint. Needs torch, diffusers and transformers."""
        from engines.families.wan import graphs

        recorded = digests or diffusers.record(weights, self.architecture.checkpoint)
        return graphs.components(weights, self.architecture, recorded)

    def layers(self) -> Mapping[str, Layer]:
        """Those of the denoiser. Raises `CheckpointUnfit` for a checkpoint with two."""
        if len(self.architecture.denoisers) > 1:
            raise CheckpointUnfit(
                f"{self.capabilities.model} takes no adapters: it has two denoisers, and an adapter is of one; merge "
                "it into the checkpoint, and add that"
            )
        return layers(self.architecture)

    def cases(self) -> Iterator[Case]:
        """See `probes.py`."""
        return probes.cases(self.architecture)

    def _used(self) -> Mapping[EngineCall, tuple[str, ...]]:
        """See `Family.uses`."""
        return {
            "encode_text": ("text_encoder",),
            "step": (*self.architecture.denoisers.values(), "preview"),
            "decode": ("vae_decoder_first", "vae_decoder_step"),
            "encode_video": (),
        }
