"""Inputs that engines are verified on: random, and drawn from a seed alone, so that any install draws the
same.

`build.py` records what the torch reference answers to them, `verify.py` compares. A case is a canvas and, for
the denoiser, a set of conditions. The cases are those of the sprite model's components.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array, Canvas, Conditions, Engines, Family
from engines.families.sprite import captions, packing, world
from engines.families.sprite.family import dit_inputs
from engines.runtimes.base import Arrays

SEED: Final = 20
KEPT: Final = 16
"""Values that a probe keeps of each output."""
RUN_STEPS: Final = 3
"""Denoising steps of an end-to-end run."""


@dataclass(frozen=True)
class Case:
    """One call of one component."""

    component: str
    name: str
    inputs: Arrays


def component_cases(family: Family) -> Iterator[Case]:
    """Random inputs of each component, on every canvas, in batches of one and of two where it takes them."""
    random = np.random.Generator(np.random.Philox(key=[SEED, 0]))
    ids = random.integers(0, len(captions.VOCAB), (2, packing.TEXT_TOKENS)).astype(np.int64)
    yield Case("text_encoder", "two captions", {"token_ids": ids})
    for index, canvas in enumerate(family.capabilities.canvases):
        random = np.random.Generator(np.random.Philox(key=[SEED, 1 + index]))
        height, width = canvas.height // world.LATENT_PX, canvas.width // world.LATENT_PX
        frames = random.uniform(-1, 1, (2, world.FRAMES_PER_LATENT, 3, canvas.height, canvas.width))
        latent = random.standard_normal((2, world.LATENT_CHANNELS, height, width), dtype=np.float32)
        yield Case("vae_encoder", canvas.aspect_ratio, {"frames": frames.astype(np.float32)})
        yield Case("vae_decoder_first", canvas.aspect_ratio, {"latent": latent})
        cache = random.standard_normal((2, 128, height, width), dtype=np.float32)
        yield Case("vae_decoder_step", canvas.aspect_ratio, {"latent": latent, "cache_in": cache})
        for name, conditions in _conditions(canvas, random):
            state = family.start(conditions, seed=SEED, segment=index, steps=RUN_STEPS)
            yield Case("dit", f"{canvas.aspect_ratio} {name}", dit_inputs([state], [0.7]))


def _conditions(canvas: Canvas, random: np.random.Generator) -> Iterator[tuple[str, Conditions]]:
    """Each set of conditions that the denoiser takes."""
    height, width = canvas.height // world.LATENT_PX, canvas.width // world.LATENT_PX

    def draw(*shape: int) -> Array:
        return random.standard_normal(shape, dtype=np.float32)

    text, channels = draw(packing.TEXT_TOKENS, 128), world.LATENT_CHANNELS
    reference = (draw(channels, 4, 4),)
    anchor, short = draw(1, channels, height, width), draw(packing.SHORT_LATENTS, channels, height, width)
    yield "root", Conditions(canvas, text)
    yield "root with first frame and reference", Conditions(canvas, text, reference, first=anchor)
    yield "extension", Conditions(canvas, text, anchor=anchor, short=short)
    yield "extension with reference", Conditions(canvas, text, reference, anchor=anchor, short=short)


def end_to_end(family: Family, engines: Engines, canvas: Canvas) -> dict[str, NDArray[np.float32]]:
    """A short run through every component: reference, caption, root, extension, pixels.

    Returns the latents of both segments, and the extension's frames in 0..255.
    """
    random = np.random.Generator(np.random.Philox(key=[SEED, 99]))
    picture = random.integers(0, 256, (*family.capabilities.reference_size, 3)).astype(np.uint8)
    reference = family.encode_still(engines, family.read_reference(picture).picture)
    prompt = family.read_prompt("a red circle moves left", subject="named", seed=SEED).effective_prompt
    text = family.encode_text(engines, prompt)
    root = _denoise(family, engines, Conditions(canvas, text, (reference,)), segment=0)
    history = root[-family.history_latents :]
    further = _denoise(family, engines, Conditions(canvas, text, anchor=root[:1], short=history), segment=1)
    lead = root[-family.lead_latents :]
    frames = np.concatenate(list(family.decode(engines, further, lead=lead)))
    return {"root": root, "extension": further, "frames": frames.astype(np.float32)}


def _denoise(family: Family, engines: Engines, conditions: Conditions, *, segment: int) -> Array:
    state = family.start(conditions, seed=SEED, segment=segment, steps=RUN_STEPS)
    while not state.done:
        family.step(engines, [state])
    return state.latents


def kept(outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, tuple[float, ...]]:
    """What a probe keeps of outputs: values at evenly spaced places."""
    result = {}
    for name, values in outputs.items():
        flat = np.asarray(values, np.float32).ravel()
        places = np.linspace(0, len(flat) - 1, min(KEPT, len(flat))).astype(int)
        result[name] = tuple(float(value) for value in flat[places])
    return result
