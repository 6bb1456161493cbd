"""The family of the embedded sprite model: its capabilities, how it reads prompts and pictures, and its
sampler.

`models.py` registers it. The grammar, the packing and the reading of pictures are those that it was trained
with (`engines.families.sprite`); here they meet the interface that the stages use. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.families.base import (
    Array,
    Canvas,
    Capabilities,
    Conditions,
    Denoising,
    Engines,
    Frames,
    PromptReading,
    Range,
    ReferenceReading,
    Subject,
)
from engines.families.sprite import captions, packing, reference, world

CAPABILITIES: Final = Capabilities(
    model="sprite-1",
    family="sprite",
    description=(
        "A small causal video model of one sprite that moves over a plain background: "
        f"{', '.join(world.COLOUR_NAMES)}; {', '.join(world.SHAPE_NAMES)}, or a 4x4 pattern read from a reference "
        f"picture; backgrounds {', '.join(world.BACKGROUND_NAMES)}; motion {', '.join(world.DIRECTION_NAMES)}."
    ),
    canvases=tuple(Canvas(aspect, *world.CANVASES[aspect]) for aspect in ("16:9", "1:1", "9:16")),
    resolutions={"480p": 7, "720p": 11, "1080p": 16},
    image_resolutions={"1k": 1024, "2k": 2048},
    fps=world.FPS,
    frames_per_latent=world.FRAMES_PER_LATENT,
    root_latents=packing.REST_LATENTS + 1,
    segment_latents=packing.REST_LATENTS,
    seconds=Range(1, 15, 8),
    extension_seconds=Range(1, 10, 6),
    steps=Range(1, 50, packing.DEFAULT_STEPS),
    reference_size=(world.SPRITE_PX, world.SPRITE_PX),
    references_max=1,
    max_prompt_chars=4096,
    aliases=("sprite",),
)
FAITHFUL: Final = 0.85
"""Share of a reference picture that must be carried for no warning to be given."""
_ENCODE_BATCH: Final = 16
"""Latents encoded in one call: bounds the memory that a long ingested video takes."""


class SpriteFamily:
    """Implements `families.base.Family`."""

    capabilities = CAPABILITIES
    components: tuple[str, ...] = (
        "text_encoder",
        "vae_encoder",
        "vae_decoder_first",
        "vae_decoder_step",
        "dit",
    )
    lead_latents = 1
    """The decoder's cache is made of the latest latent alone."""
    history_latents = packing.SHORT_LATENTS

    def read_prompt(self, prompt: str, *, subject: Subject, seed: int, inherited: str | None = None) -> PromptReading:
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
            warnings.append(f"this model knows no word of the prompt: {effective!r} was drawn from the seed")
        return PromptReading(effective, reading.understood, reading.ignored, tuple(warnings))

    def read_reference(self, picture: Frames) -> ReferenceReading:
        """Read a picture, uint8 [32, 32, 3], as a named sprite or as 4x4 blocks of the palette."""
        read = reference.read_reference(picture)
        description = read.describe()
        warning = None
        if read.fidelity < FAITHFUL:
            warning = f"the picture has more detail than this model's reference carries; it was read as {description}"
        return ReferenceReading(read.picture, description, warning)

    def encode_text(self, engines: Engines, effective_prompt: str) -> Array:
        """[14, 128]."""
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
        _check(conditions)
        height, width = (
            conditions.canvas.height // world.LATENT_PX,
            conditions.canvas.width // world.LATENT_PX,
        )
        count = packing.REST_LATENTS + 1 if conditions.is_root else packing.REST_LATENTS
        key = np.array([seed & (2**64 - 1), segment], np.uint64)  # a plain list of large numbers would be rounded
        random = np.random.Generator(np.random.Philox(key=key))
        latents = random.standard_normal((count, world.LATENT_CHANNELS, height, width), dtype=np.float32)
        if conditions.first is not None:
            latents[:1] = conditions.first
        packed = packing.pack(
            latents[None],
            reference=conditions.references[0][None] if conditions.references else None,
            anchor=None if conditions.anchor is None else conditions.anchor[None],
            short=None if conditions.short is None else conditions.short[None],
        )
        where = packed.positions
        constant: dict[str, NDArray[np.generic]] = {
            "text": conditions.text[None],
            "row": where.row,
            "col": where.col,
            "frame": where.frame,
            "segment": where.segment,
            "context": packed.tokens[:, : where.target.start],
        }
        if conditions.first is not None:
            constant["first"] = conditions.first
        return Denoising(latents=latents, step=0, times=packing.times(steps), packed=constant)

    def step(self, engines: Engines, states: Sequence[Denoising]) -> None:
        """One Euler step of each, in place. A given first frame stays as it is."""
        nows = [float(state.times[state.step]) for state in states if not state.done]
        if len(nows) < len(states) or len({self.batch_key(state) for state in states}) != 1:
            raise ValueError("step: states of one batch_key, none of them done")
        predicted = _float(engines.infer("dit", dit_inputs(states, nows))["x0"])
        for state, now, tokens in zip(states, nows, predicted, strict=True):
            then = float(state.times[state.step + 1])
            context = state.packed["context"].shape[1]
            height, width = state.latents.shape[-2:]
            clean = packing.unpatchify(tokens[context:], height, width)
            latents = packing.euler(state.latents, clean, now, then)
            if "first" in state.packed:
                latents[:1] = state.packed["first"]
            state.latents = latents
            state.step += 1

    def batch_key(self, state: Denoising) -> Hashable:
        """The canvas, and which conditions there are: they fix every token's position."""
        packed = state.packed
        return state.latents.shape, packed["context"].shape, packed["segment"].tobytes(), "first" in packed

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


def dit_inputs(states: Sequence[Denoising], times: Sequence[float]) -> Mapping[str, NDArray[np.generic]]:
    """The denoiser's inputs for latents as they stand, each at its own time."""
    constants = [state.packed for state in states]
    tokens = [
        np.concatenate([_float(constant["context"]), packing.patchify(state.latents)[None]], axis=1)
        for state, constant in zip(states, constants, strict=True)
    ]
    first_given = "first" in constants[0]
    return {
        **{name: constants[0][name] for name in ("row", "col", "frame", "segment")},
        "text": np.concatenate([constant["text"] for constant in constants]),
        "tokens": np.concatenate(tokens),
        "levels": np.concatenate([packing.levels(1, time, first_given=first_given) for time in times]),
    }


def _check(conditions: Conditions) -> None:
    """Refuse what the model was never trained on."""
    if len(conditions.references) > CAPABILITIES.references_max:
        raise ValueError(f"references: {len(conditions.references)}; this model takes {CAPABILITIES.references_max}")
    if conditions.is_root:
        return
    if conditions.first is not None:
        raise ValueError("first: an extension has no given first frame")
    if conditions.anchor is None or conditions.short is None:
        raise ValueError("anchor, short: an extension takes both")
    if len(conditions.short) != packing.SHORT_LATENTS:
        raise ValueError(f"short: {len(conditions.short)} latents; an extension takes {packing.SHORT_LATENTS}")


def _float(values: NDArray[np.generic]) -> Array:
    return np.asarray(values, np.float32)


def _pixels(frames: NDArray[np.generic]) -> Frames:
    """The decoder's [1, F, 3, h, w] in -1..1 as uint8 [F, h, w, 3]."""
    values = np.moveaxis(_float(frames)[0], 1, -1)
    return np.ascontiguousarray(np.clip(np.rint((values + 1) * 127.5), 0, 255).astype(np.uint8))
