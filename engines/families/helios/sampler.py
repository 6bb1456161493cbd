"""A chunk of a Helios from noise to latents: UniPC or Euler, led by the prompt and away from the negative prompt.

`family.py` calls it for the stages. One call of the denoiser takes every state twice, once with each text. A state
holds what its chunk is shown, and checkpoints what its sampler remembers: noise is drawn from (seed, segment) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from engines.families import step_cache
from engines.families.base import Array, Denoising, Engines
from engines.families.helios.architecture import CHUNK, Helios
from engines.families.wan import unipc

GUIDANCE: Final = np.float32(5.0)
"""How much further than the prompt's own prediction to go, away from the negative prompt's: the pipeline's default."""


def start(architecture: Helios, text: Array, history: Array, *, seed: int, segment: int, steps: int) -> Denoising:
    """Noise for a chunk that is shown `history` [20, C, h, w], with both its texts [2, tokens, width]."""
    key = np.array([seed & (2**64 - 1), segment], np.uint64)  # a plain list of large numbers would be rounded
    random = np.random.Generator(np.random.Philox(key=key))
    noise = random.standard_normal((CHUNK, *history.shape[1:]), dtype=np.float32)
    grid = architecture.schedule.levels(steps, _tokens(architecture, noise))
    return Denoising(noise, 0, grid, {"text": text, "history": history})


def step(architecture: Helios, engines: Engines, states: Sequence[Denoising]) -> None:
    """One step of each, in place. Raises `ValueError` for states that do not belong together or are done."""
    kinds = {(state.latents.shape, step_cache.skips(state)) for state in states}
    if any(state.done for state in states) or len(kinds) != 1:
        raise ValueError("step: states of one batch_key, none of them done")
    ((_, skipped),) = kinds
    remembered = [unipc.remembered(state) for state in states]
    guided = [step_cache.again(state) for state in states] if skipped else _guided(architecture, engines, states)
    for state, past, velocity in zip(states, remembered, guided, strict=True):
        latents, memory = unipc.step(state.latents, velocity, past, state.step, state.times)
        if not architecture.schedule.corrects:
            latents = state.latents + (state.times[state.step + 1] - state.times[state.step]) * velocity
        state.memory = {**unipc.kept(memory), **step_cache.after(state, velocity, latents)}
        state.latents = latents
        state.step += 1


def _guided(architecture: Helios, engines: Engines, states: Sequence[Denoising]) -> list[Array]:
    """The velocity of each, [T, C, h, w]: what the denoiser says with the prompt, and further away from what it says
    with the negative prompt. One call for all of it."""
    tokens = _tokens(architecture, states[0].latents)
    times = [architecture.schedule.times(state.steps, tokens)[state.step] for state in states]
    latents, history = (
        np.ascontiguousarray(np.moveaxis(np.concatenate([values, values]), 1, 2), np.float32)  # channels before frames
        for values in (
            np.stack([state.latents for state in states]),
            np.stack([state.packed["history"] for state in states]),
        )
    )
    inputs = {
        "latents": latents,
        "time": np.array([*times, *times], np.float32),
        "text": np.stack([state.packed["text"][half] for half in (0, 1) for state in states]),
        "history": history,
    }
    velocity = np.asarray(engines.infer("dit", inputs)["velocity"], np.float32)
    led, unled = np.moveaxis(velocity, 2, 1).reshape(2, len(states), *states[0].latents.shape)
    return [away + GUIDANCE * (towards - away) for towards, away in zip(led, unled, strict=True)]


def _tokens(architecture: Helios, latents: Array) -> int:
    """Of a chunk."""
    frames, rows, columns = architecture.patch
    count, _, height, width = map(int, latents.shape)
    return count * height * width // (frames * rows * columns)
