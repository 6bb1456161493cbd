"""Steps whose prediction is not computed: what the denoiser added to its input last time is added again.

EasyCache (Zhou and others, 2025, arXiv 2507.02860) on the velocity that a sampler of flow matching steps by. In the
middle of a run, velocity minus latents hardly changes from step to step. By how much is estimated from what is at hand,
so no graph has to show its inside: the rate at which the velocity last changed with the latents, times how far the
latents have moved since, relative to the velocity. While these estimates add up to less than `Denoising.step_cache`,
nothing is computed; then one step is, and the sum begins anew. The first fifth of the steps is always computed, and so
is the last one.

Whether the next step is computed is decided where a step ends, and lies with all else in `Denoising.memory`: so it is
in checkpoints, and a run that is resumed decides as the one that was not. A sampler asks `skips` and `again`, and puts
`after` into the memory; the Denoiser counts by `skips` and `skipped`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from engines.families.base import Array, Denoising

BOUNDS: Final = (0.0, 1.0)
"""Of a threshold, neither of them one: at 1, what is reused is wrong by as much as there is."""
_WARM_UP: Final = 0.2
"""Of all steps, the first ones: they decide what a video shows."""
_LATENTS, _VELOCITY = "cached_latents", "cached_velocity"
"""What the denoiser was given when it was last asked, and what it answered."""
_RATE, _ERROR = "cached_rate", "cached_error"
"""How much the velocity changes with the latents; and what has added up."""
_SKIPS, _SKIPPED = "cached_skips", "cached_skipped"
"""1 where the next step is not computed; and how many were not so far."""


def skips(state: Denoising) -> bool:
    """Whether the next step of a state is not computed."""
    return bool(_number(state.memory, _SKIPS, 0.0))


def skipped(memory: Mapping[str, Array]) -> int:
    """How many steps were not computed, of a state with this memory."""
    return int(_number(memory, _SKIPPED, 0.0))


def again(state: Denoising) -> Array:
    """The velocity of a state that skips a step, of its latents' shape."""
    velocity, latents = state.memory[_VELOCITY], state.memory[_LATENTS]
    return np.asarray(state.latents + (velocity - latents), np.float32)


def after(state: Denoising, velocity: Array, then: Array, *, another: bool = False) -> dict[str, Array]:
    """What to remember of a step from the state as it is, by this velocity, to the latents `then`; nothing where all
    steps are computed. `another` denoiser takes the next step: it is computed. The state is not changed."""
    if not state.step_cache:
        return {}
    past, skipping = state.memory, skips(state)
    if skipping:
        latents, velocity = past[_LATENTS], past[_VELOCITY]
        rate, error = _number(past, _RATE, math.inf), _number(past, _ERROR, 0.0)
    else:
        latents, rate, error = state.latents, _rate(state, velocity), 0.0
    moved, size = _mean(then - state.latents), _mean(velocity)
    # No movement at all, or no velocity, tells nothing of the next one: that is computed.
    error = error + rate * moved / size if moved and size else math.inf
    following = state.step + 1
    skip = (
        not another
        and max(2, math.ceil(_WARM_UP * state.steps)) <= following < state.steps - 1
        and error < state.step_cache
    )
    numbers = {_RATE: rate, _ERROR: error, _SKIPS: float(skip), _SKIPPED: float(skipped(past) + skipping)}
    kept = {name: np.array([number], np.float32) for name, number in numbers.items()}
    return {_LATENTS: latents, _VELOCITY: velocity, **kept}


def _rate(state: Denoising, velocity: Array) -> float:
    """Between the last time that the denoiser was asked and this one; infinite while there is none."""
    if _LATENTS not in state.memory:
        return math.inf
    moved = _mean(state.latents - state.memory[_LATENTS])
    return _mean(velocity - state.memory[_VELOCITY]) / moved if moved else math.inf


def _mean(values: Array) -> float:
    """Of their sizes; summed so exactly that the order does not show."""
    return float(np.abs(values).mean(dtype=np.float64))


def _number(memory: Mapping[str, Array], name: str, unknown: float) -> float:
    return float(memory[name][0]) if name in memory else unknown
