"""The family of the sprite-2 model: the interface that the stages and the builder use, on this folder's parts.

`families/registry.py` names it. Its words stand in the denoiser's own sequence, so it has no text encoder. Nothing here
needs torch, save `graphs` and `score`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.checkpoints.files import Files, Folder
from engines.families.base import (
    Array,
    Conditions,
    Denoising,
    EngineCall,
    Engines,
    FrameReading,
    Frames,
    PromptReading,
    ReferenceReading,
    Subject,
)
from engines.families.buildable import Case
from engines.families.capabilities import Role
from engines.families.graph import GraphSpec
from engines.families.history import Before, HistoryPlan
from engines.families.sprite import denoising, history, planner, prompts, reading, references, world
from engines.families.sprite.capabilities import CAPABILITIES

_FOLDER: Final = Path(__file__).parent
_ENCODE_BATCH: Final = 16
"""Latents encoded in one call: bounds the memory that a long ingested video takes."""


class SpriteFamily:
    """Implements `BuildableFamily` and `ScoredFamily`."""

    capabilities = CAPABILITIES
    prebuilt = _FOLDER / "prebuilt"
    probe_canvases = CAPABILITIES.canvases
    packages: tuple[str, ...] = ()
    probe_prompt = "a red square moves left. the camera pans right"
    components: tuple[str, ...] = ("vae_encoder", "vae_decoder_first", "vae_decoder_step", "dit")
    uses: Mapping[EngineCall, tuple[str, ...]] = {
        "encode_text": (),
        "encode_video": ("vae_encoder",),
        "step": ("dit",),
        "decode": ("vae_decoder_first", "vae_decoder_step"),
    }
    scores = ("quick", "directed", "memory", "waiting", "long")
    lead_latents = 1
    """The decoder's cache is made of the latest latent alone."""
    history_latents = 1

    def __init__(self) -> None:
        self.weights: Files = Folder(_FOLDER / "weights")

    def roles(self, prompt: str, references: int) -> tuple[Role, ...]:
        """Which of so many pictures is the scene; the others are subjects. Raises `ValueError` for one too many."""
        return prompts.roles(prompt, references)

    def read_prompt(
        self,
        prompt: str,
        *,
        seed: int,
        before: Before,
        segments: int = 1,
        subject: Subject = "named",  # noqa: ARG002  (`before` says it)
        inherited: str | None = None,  # noqa: ARG002  (its facts say more)
        negative_prompt: str = "",  # noqa: ARG002  (it takes none)
    ) -> PromptReading:
        """A sentence directs a second. What it leaves open is drawn from the seed, or kept as it was."""
        return prompts.read(prompt, seed=seed, before=before, segments=segments)

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:
        """The newest latent, and of earlier ones only what is about to come into the frame."""
        return history.segment(effective_prompt, before).plan

    def read_frame(self, frame: Frames) -> FrameReading:
        """Read the sky and what stands in it; the camera is then at column 1 of the ring."""
        seen = reading.look(frame)
        told = None
        if seen.left_out:
            told = f"{seen.left_out} places of the frame's sky show what this model does not know: they may change"
        return FrameReading(history.of_frame(planner.facts_of(seen)).encode(), told)

    def read_reference(self, picture: Frames, role: Role = "subject") -> ReferenceReading:
        """A subject, uint8 [16, 16, 3], as 2x2 blocks of the palette; a scene, of a canvas's size, as its scenery under
        a sky of one colour."""
        return references.read_scene(picture) if role == "scene" else references.read_subject(picture)

    def encode_text(self, engines: Engines, effective_prompt: str, negative_prompt: str = "") -> Array:  # noqa: ARG002
        """[0, 0]: the denoiser reads the caption itself. Raises `ValueError` for a negative prompt."""
        if negative_prompt:
            raise ValueError("negative_prompt: this model takes none")
        return np.zeros((0, 0), np.float32)

    def encode_still(self, engines: Engines, picture: Frames) -> Array:
        """uint8 [h, w, 3] → latent [16, h/8, w/8]: for the encoder, a still is four equal frames."""
        latent: Array = self.encode_video(engines, picture[None])[0]
        return latent

    def encode_video(self, engines: Engines, frames: Frames) -> Array:
        """uint8 [4k+1, h, w, 3] → latents [k+1, 16, h/8, w/8]."""
        group = world.FRAMES_PER_LATENT
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) % group != 1:
            raise ValueError(f"frames: {frames.dtype} {frames.shape}; expected uint8 [4k+1, h, w, 3]")
        padded = np.concatenate([np.repeat(frames[:1], group - 1, axis=0), frames])
        groups = padded.reshape(-1, group, *frames.shape[1:])
        parts = []
        for begin in range(0, len(groups), _ENCODE_BATCH):
            values = groups[begin : begin + _ENCODE_BATCH].astype(np.float32) / 127.5 - 1
            inputs = {"frames": np.ascontiguousarray(np.moveaxis(values, -1, 2))}
            parts.append(_float(engines.infer("vae_encoder", inputs)["latent"]))
        return np.concatenate(parts)

    def start(self, conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
        """Noise for a segment, and all that its steps share.

        Raises `ValueError` for conditions that its plan does not name, or that lack what it names.
        """
        return denoising.start(conditions, seed=seed, segment=segment, steps=steps)

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One Euler step of each, in place. A given first frame stays as it is."""
        denoising.step(engines, states)

    def batch_key(self, state: Denoising) -> Hashable:
        """The canvas, and how many tokens of which kind there are."""
        return denoising.batch_key(state)

    def decode(self, engines: Engines, latents: Array, *, lead: Array | None) -> Iterator[Frames]:
        """Frame groups, uint8 [1 or 4, h, w, 3], in order; a video's first latent gives one frame."""
        if latents.ndim != 4 or not len(latents):
            raise ValueError(f"latents: {latents.shape}; expected [T, 16, h, w] with T of at least 1")
        opening = latents if lead is None else lead[-self.lead_latents :]
        found = engines.infer("vae_decoder_first", {"latent": np.ascontiguousarray(opening[:1])})
        if lead is None:
            yield _pixels(found["frame"])
        for latent in latents[1:] if lead is None else latents:
            inputs = {"latent": np.ascontiguousarray(latent[None]), "cache_in": found["cache"]}
            found = engines.infer("vae_decoder_step", inputs)
            yield _pixels(found["frames"])

    def graphs(
        self,
        weights: Files,
        digests: Mapping[str, str] | None = None,  # noqa: ARG002  (the package's own, which nobody recorded)
    ) -> Mapping[str, GraphSpec]:
        """The four graphs with these weights, vae.safetensors and denoiser.safetensors. Needs torch."""
        from engines.families.sprite import graphs

        return graphs.components(weights)

    def cases(self) -> Iterator[Case]:
        """See `probes.py`."""
        from engines.families.sprite import probes

        return probes.cases(self)

    def score(self, engines: Engines, table: str, *, cases: int, steps: int, seed: int) -> Iterator[str]:
        """See `training/score.py`."""
        from engines.families.sprite.training import score

        return score.table(engines, score.ROWS[table], cases=cases, steps=steps, seed=seed)


def _float(values: NDArray[np.generic]) -> Array:
    return np.asarray(values, np.float32)


def _pixels(frames: NDArray[np.generic]) -> Frames:
    """The decoder's [1, F, 3, h, w] in -1..1 as uint8 [F, h, w, 3]."""
    values = np.moveaxis(_float(frames)[0], 1, -1)
    return np.ascontiguousarray(np.clip(np.rint((values + 1) * 127.5), 0, 255).astype(np.uint8))
