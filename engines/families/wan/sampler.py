"""A segment of a Wan model from noise to latents: UniPC, led by the prompt and away from the negative prompt.

`family.py` calls it for the stages. One call of the denoiser takes every state twice, once with each text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.families import step_cache
from engines.families.base import Array, Conditions, Denoising, Engines
from engines.families.wan import unipc
from engines.families.wan.architecture import TEXT_TOKENS, Architecture, Task

GUIDANCE: Final = np.float32(5.0)
"""How much further than the prompt's own prediction to go, away from the negative prompt's: what Wan was tuned for."""
_OF_TWO: Final[Mapping[Task, tuple[float, float]]] = {"text": (4.0, 3.0), "image": (3.5, 3.5)}
"""The same of Wan 2.2's two denoisers, the one that begins first."""


def start(
    architecture: Architecture,
    conditions: Conditions,
    *,
    latents: int,
    seed: int,
    segment: int,
    steps: int,
    packed: Mapping[str, NDArray[np.generic]],
    beside: int = 0,
    lead: int = 0,
) -> Denoising:
    """Noise for a segment of so many latents, its `lead` among them, with its text and `packed`, which is the family's
    own; and for those that are denoised `beside` them. Raises `ValueError` for a text without a negative one."""
    if len(conditions.text) != 2 * TEXT_TOKENS:
        raise ValueError(f"text: {len(conditions.text)} tokens; prompt and negative prompt have {TEXT_TOKENS} each")
    canvas, stride = conditions.canvas, architecture.latent_stride
    shape = (architecture.latent_channels, canvas.height // stride, canvas.width // stride)
    key = np.array([seed & (2**64 - 1), segment], np.uint64)  # a plain list of large numbers would be rounded
    random = np.random.Generator(np.random.Philox(key=key))
    # Drawn first, the video's noise is the same whatever is denoised beside it.
    video, front = (random.standard_normal((count, *shape), dtype=np.float32) for count in (latents, beside))
    noise = np.concatenate([front, video])
    text = conditions.text.reshape(2, TEXT_TOKENS, -1)
    grid = unipc.levels(steps, architecture.flow_shift)
    return Denoising(noise, 0, grid, {"text": text, **packed}, beside=beside, lead=lead)


def denoiser(architecture: Architecture, state: Denoising) -> str:
    """The engine of the state's next step."""
    return _denoiser(architecture, state.steps, state.step)


def guidance(architecture: Architecture, engine: str) -> np.float32:
    """How strongly a denoiser is led."""
    engines = [*architecture.denoisers.values()]
    return np.float32(_OF_TWO[architecture.task][engines.index(engine)]) if len(engines) > 1 else GUIDANCE


def step(
    architecture: Architecture,
    engines: Engines,
    states: Sequence[Denoising],
    *,
    known: Array | None = None,
    beside: Mapping[str, Array] = MappingProxyType({}),
) -> None:
    """One step of each, in place. `beside`: what the denoiser takes beside the latents, by input, [states, ...]; not
    needed for states that skip it. `known` [states, T], for one that takes a time for each latent: 1 for latents that
    are given, and have time 0.

    Raises `ValueError` for states that do not belong together or are done.
    """
    kinds = {(state.latents.shape, denoiser(architecture, state), step_cache.skips(state)) for state in states}
    if any(state.done for state in states) or len(kinds) != 1:
        raise ValueError("step: states of one batch_key, none of them done")
    ((_, engine, skipped),) = kinds
    remembered = [unipc.remembered(state) for state in states]
    if skipped:
        guided = [step_cache.again(state) for state in states]
    else:
        guided = _guided(architecture, engines, engine, states, known, beside)
    for state, past, velocity in zip(states, remembered, guided, strict=True):
        latents, memory = unipc.step(state.latents, velocity, past, state.step, state.times)
        another = _denoiser(architecture, state.steps, state.step + 1) != engine
        state.memory = {**unipc.kept(memory), **step_cache.after(state, velocity, latents, another=another)}
        state.latents = latents
        state.step += 1


def _guided(
    architecture: Architecture,
    engines: Engines,
    engine: str,
    states: Sequence[Denoising],
    known: Array | None,
    beside: Mapping[str, Array],
) -> list[Array]:
    """The velocity of each, [T, C, h, w]: what the denoiser says with the prompt, and further away from what it says
    with the negative prompt. One call for all of it."""
    times = [unipc.times(state.steps, architecture.flow_shift)[state.step] for state in states]
    count, (frames, channels, *size) = len(states), states[0].latents.shape
    latents = np.empty((2, count, channels, frames, *size), np.float32)  # channels before frames
    for place, state in enumerate(states):
        latents[:, place] = state.latents.swapaxes(0, 1)
    inputs = {
        "latents": latents.reshape(2 * count, *latents.shape[2:]),
        "time": np.array([*times, *times], np.float32),
        "text": _texts(states),
    }
    if known is not None:
        inputs["time"] = inputs["time"][:, None] * (1 - np.concatenate([known, known]))
    inputs |= {name: np.concatenate([values, values]) for name, values in beside.items()}
    velocity = np.asarray(engines.infer(engine, inputs)["velocity"], np.float32)
    led, unled = np.moveaxis(velocity, 2, 1).reshape(2, count, *states[0].latents.shape)
    strength = guidance(architecture, engine)
    return [_away(towards, away, strength) for towards, away in zip(led, unled, strict=True)]


def _texts(states: Sequence[Denoising]) -> Array:
    """Of each row: all prompts, then all negative prompts. Large, and the same at each step."""
    if len(states) == 1:
        return np.asarray(states[0].packed["text"], np.float32)
    return np.stack([state.packed["text"][half] for half in (0, 1) for state in states])


def _away(towards: Array, away: Array, strength: np.float32) -> Array:
    """Guided by both, in memory's usual order whatever that of the two is: all that follows is faster by it."""
    guided = np.subtract(towards, away, out=np.empty(away.shape, np.float32))
    guided *= strength
    guided += away
    return guided


def _denoiser(architecture: Architecture, steps: int, step: int) -> str:
    """The engine of one of so many steps; after the last one, of that."""
    *before, last = architecture.denoisers.values()
    at = unipc.times(steps, architecture.flow_shift)[min(step, steps - 1)]
    return before[0] if before and at >= architecture.boundary else last
