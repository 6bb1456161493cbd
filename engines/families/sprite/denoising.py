"""A segment of sprite-2 from noise to latents, as the Denoiser steps it: `family.py` calls it.

What the denoiser is shown is packed once (`sampler.pack`), from the segment's plan (`history.segment`) and the latents
that were read for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array, Conditions, Denoising, Engines
from engines.families.history import Before
from engines.families.sprite import history, packing, sampler
from engines.families.sprite.history import SCENE, Segment
from engines.families.sprite.sampler import Remembered, Shot
from engines.families.sprite.stage import Moment
from engines.families.sprite.world import F32, LATENT_CHANNELS, LATENT_PX, RING, Grid

_SHARED: Final = ("role", "segment")
"""Inputs that a batch has once."""
_EACH: Final = ("ids", "stand", "places", "pan", "present")


def start(conditions: Conditions, *, seed: int, segment: int, steps: int) -> Denoising:
    """Noise for a segment, and all that its steps share. Raises `ValueError` for conditions that lack what its plan
    names."""
    if conditions.before is None:
        raise ValueError("before: this model films what was planned, and nothing is told of it")
    filmed = history.segment(conditions.effective_prompt, conditions.before)
    canvas = conditions.canvas
    shape = (len(filmed.target), LATENT_CHANNELS, canvas.height // LATENT_PX, canvas.width // LATENT_PX)
    key = np.array([seed & (2**64 - 1), segment], np.uint64)  # a plain list of large numbers would be rounded
    latents = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
    shot = Shot(
        filmed.grid,
        filmed.words,
        filmed.target,
        _short(filmed, conditions),
        _memory(filmed, conditions),
        tuple(None if number is None else _reference(conditions, number) for number in filmed.references),
    )
    constant, context = sampler.pack([shot], columns=len(filmed.columns))
    packed: dict[str, NDArray[np.generic]] = {**constant, "context": context}
    if conditions.before.first and conditions.first is not None:
        packed["first"] = conditions.first
        latents = np.concatenate([conditions.first, latents])
    return Denoising(latents=latents, step=0, times=packing.times(steps), packed=packed)


def step(engines: Engines, states: Sequence[Denoising]) -> None:
    """One Euler step of each, in place. A given first frame stays as it is. Raises `ValueError` for states that do not
    belong together or are done."""
    if any(state.done for state in states) or len({batch_key(state) for state in states}) != 1:
        raise ValueError("step: states of one batch_key, none of them done")
    nows = [float(state.times[state.step]) for state in states]
    predicted = np.asarray(engines.infer("dit", inputs(states, nows))["x0"], np.float32)
    for state, now, tokens in zip(states, nows, predicted, strict=True):
        noised = _noised(state)
        grid = Grid(noised.shape[-2] // packing.PATCH, noised.shape[-1] // packing.PATCH)
        made = tokens[state.packed["context"].shape[1] :].reshape(len(noised), -1, packing.TOKEN_FEATURES)
        clean = packing.unpatchify(made, grid)
        done = packing.euler(noised, clean, now, float(state.times[state.step + 1]))
        state.latents = np.concatenate([state.latents[: len(state.latents) - len(noised)], done])
        state.step += 1


def batch_key(state: Denoising) -> Hashable:
    """The canvas, and how many tokens of which kind there are."""
    return state.latents.shape, state.packed["segment"].tobytes(), "first" in state.packed


def inputs(states: Sequence[Denoising], times: Sequence[float]) -> dict[str, NDArray[np.generic]]:
    """The denoiser's inputs for latents as they stand, each at its own time."""
    constants = [state.packed for state in states]
    tokens = [
        np.concatenate([np.asarray(constant["context"], np.float32), _tokens(state)], axis=1)
        for state, constant in zip(states, constants, strict=True)
    ]
    return {
        **{name: constants[0][name] for name in _SHARED},
        **{name: np.concatenate([constant[name] for constant in constants]) for name in _EACH},
        "tokens": np.concatenate(tokens),
        "levels": np.concatenate([packing.levels(1, time) for time in times]),
    }


def _noised(state: Denoising) -> Array:
    """Its latents without a given first one."""
    return state.latents[1 if "first" in state.packed else 0 :]


def _tokens(state: Denoising) -> F32:
    """[1, T n, 64]"""
    return packing.patchify(_noised(state)).reshape(1, -1, packing.TOKEN_FEATURES)


def _short(filmed: Segment, conditions: Conditions) -> tuple[Moment, F32] | None:
    if filmed.newest is None:
        return None
    newest = conditions.first if conditions.short is None else conditions.short
    if newest is None:
        raise ValueError("short, first: this segment goes on after a latent, and none is given")
    return filmed.newest, packing.patchify(newest[-1:])[0]


def _memory(filmed: Segment, conditions: Conditions) -> tuple[Remembered, ...]:
    numbers = filmed.plan.of("memory")
    if len(numbers) != len(conditions.memory):
        raise ValueError(f"memory: {len(conditions.memory)} latents; the plan names {len(numbers)}")
    latents = dict(zip(numbers, conditions.memory, strict=True))
    scene = next((i for i, reference in enumerate(_before(conditions).references) if reference.role == "scene"), None)
    found = []
    for column, view in filmed.columns:
        if view is None:
            continue
        if view.latent == SCENE:
            assert scene is not None
            latent = _given(conditions, scene)
        else:
            latent = latents[view.latent]
        frame = packing.patchify(latent[None])[0].reshape(filmed.grid.rows, filmed.grid.cols, -1)
        found.append(Remembered(column, view.pan, frame[:, (column - view.offset) % RING]))
    return tuple(found)


def _reference(conditions: Conditions, number: int) -> F32:
    """[64]: a subject's picture is one token."""
    token: F32 = packing.patchify(_given(conditions, number)[None])[0, 0]
    return token


def _given(conditions: Conditions, number: int) -> Array:
    if number >= len(conditions.references):
        raise ValueError(f"references: {len(conditions.references)} are given; the caption names number {number + 1}")
    return conditions.references[number]


def _before(conditions: Conditions) -> Before:
    assert conditions.before is not None
    return conditions.before
