"""The family of the embedded sprite model: the interface that the stages and the builder use, on this folder's parts.

`families/registry.py` names it. The grammar, the packing and the reading of pictures are those that it was trained
with. Nothing here needs torch, save `graphs`.
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
from engines.families.history import Before, HistoryPlan, anchored
from engines.families.sprite import captions, packing, reference, sampler, world
from engines.families.sprite.capabilities import CAPABILITIES

_FOLDER: Final = Path(__file__).parent
FAITHFUL: Final = 0.85
"""Share of a reference picture that must be carried for no warning to be given."""
_ENCODE_BATCH: Final = 16
"""Latents encoded in one call: bounds the memory that a long ingested video takes."""


class SpriteFamily:
    """Implements `BuildableFamily` and `ScoredFamily`."""

    capabilities = CAPABILITIES
    prebuilt = _FOLDER / "prebuilt"
    probe_canvases = CAPABILITIES.canvases
    packages: tuple[str, ...] = ()
    probe_prompt = "a red circle moves left"
    components: tuple[str, ...] = (
        "text_encoder",
        "vae_encoder",
        "vae_decoder_first",
        "vae_decoder_step",
        "dit",
    )
    uses: Mapping[EngineCall, tuple[str, ...]] = {
        "encode_text": ("text_encoder",),
        "encode_video": ("vae_encoder",),
        "step": ("dit",),
        "decode": ("vae_decoder_first", "vae_decoder_step"),
    }
    lead_latents = 1
    """The decoder's cache is made of the latest latent alone."""
    history_latents = packing.SHORT_LATENTS

    def __init__(self) -> None:
        self.weights: Files = Folder(_FOLDER / "weights")

    def roles(self, prompt: str, references: int) -> tuple[Role, ...]:  # noqa: ARG002  (its pictures are subjects)
        """Each is a subject."""
        return tuple("subject" for _ in range(references))

    def read_prompt(
        self,
        prompt: str,
        *,
        seed: int,
        before: Before,  # noqa: ARG002  (the caption says where it goes on)
        segments: int = 1,  # noqa: ARG002  (one caption for all)
        subject: Subject = "named",
        inherited: str | None = None,
    ) -> PromptReading:
        """Read a prompt as far as its words go, and draw from the seed what it leaves open.

        An extension goes on with what its video shows: its effective prompt is the inherited one.
        """
        reading = captions.parse(prompt)
        if inherited is not None:
            parent = captions.parse(inherited)
            overruled = captions.overruled(reading, parent)
            effective = inherited
        else:
            completed = captions.complete(reading, seed, subject=subject)
            overruled = captions.overruled(reading, completed)
            effective = captions.caption(completed, subject)
        warnings = [f"not followed: {part}" for part in overruled]
        if not reading.understood and inherited is None:
            why = "this model knows no word of the prompt" if prompt.strip() else "nothing was said"
            warnings.append(f"{why}: {effective!r} was drawn from the seed")
        return PromptReading((effective,), reading.understood, reading.ignored, tuple(warnings))

    def plan_history(self, effective_prompt: str, before: Before) -> HistoryPlan:  # noqa: ARG002
        """The first latent, and the newest ones."""
        tokens = before.canvas.height * before.canvas.width // (packing.PATCH * world.LATENT_PX) ** 2
        return anchored(before, newest=self.history_latents, latent_tokens=tokens, reference_tokens=4)

    def read_frame(self, frame: Frames) -> FrameReading:  # noqa: ARG002  (its latent says all)
        """Nothing."""
        return FrameReading()

    def read_reference(self, picture: Frames, role: Role = "subject") -> ReferenceReading:  # noqa: ARG002
        """Read a picture, uint8 [32, 32, 3], as a named sprite or as 4x4 blocks of the palette."""
        read = reference.read_reference(picture)
        description = read.describe()
        warning = None
        if read.fidelity < FAITHFUL:
            warning = f"the picture has more detail than this model's reference carries; it was read as {description}"
        return ReferenceReading(read.picture, description, warning)

    def encode_text(self, engines: Engines, effective_prompt: str, negative_prompt: str = "") -> Array:
        """[14, 128]. Raises `ValueError` for a negative prompt."""
        if negative_prompt:
            raise ValueError("negative_prompt: this model takes none")
        ids = captions.tokenize(effective_prompt)[None]
        text: Array = _float(engines.infer("text_encoder", {"token_ids": ids})["text"])[0]
        return text

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

        Raises `ValueError` for conditions that this model does not take together.
        """
        return sampler.start(conditions, seed=seed, segment=segment, steps=steps)

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One Euler step of each, in place. A given first frame stays as it is."""
        sampler.step(engines, states)

    def batch_key(self, state: Denoising) -> Hashable:
        """The canvas, and which conditions there are: they fix every token's position."""
        return sampler.batch_key(state)

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
        """The five graphs with these weights, vae.safetensors and dit.safetensors. Needs torch."""
        from engines.families.sprite import graphs

        return graphs.components(weights)

    def cases(self) -> Iterator[Case]:
        """See `probes.py`."""
        from engines.families.sprite import probes

        return probes.cases(self)

    def score(
        self, engines: Engines, *, samples: int, chains: int, extensions: int, steps: int, seed: int
    ) -> Iterator[str]:
        """See `training/score.py`."""
        from engines.families.sprite.training.score import report

        return report(engines, samples=samples, chains=chains, extensions=extensions, steps=steps, seed=seed)


def _float(values: NDArray[np.generic]) -> Array:
    return np.asarray(values, np.float32)


def _pixels(frames: NDArray[np.generic]) -> Frames:
    """The decoder's [1, F, 3, h, w] in -1..1 as uint8 [F, h, w, 3]."""
    values = np.moveaxis(_float(frames)[0], 1, -1)
    return np.ascontiguousarray(np.clip(np.rint((values + 1) * 127.5), 0, 255).astype(np.uint8))
