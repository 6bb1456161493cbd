"""UniPC of second order on flow matching, as diffusers' `UniPCMultistepScheduler` computes it; in numpy, without torch.

`sampler.py` calls it. A step corrects the latents by what the denoiser now says of the last step (UniC), then predicts
the next ones (UniP). It looks back upon the last two predictions and the latents before the last step: `Memory` is all
of that, so whoever keeps it with the latents can go on to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.families.base import Array, Denoising

TRAINED_TIMES: Final = 1000
"""The denoiser takes whole times of 0 to 1000."""
_ORDER: Final = 2
_NEAR_ONE: Final = 1e-6
"""The first level is less than 1 by it: at 1 there is no signal, and its logarithm is infinite."""


@dataclass(frozen=True)
class Memory:
    """What a step needs of the steps before it."""

    before: Array
    """The latents that the last step began with, corrected."""
    clean: tuple[Array, ...]
    """Clean latents as predicted in the last steps, at most two, the newest last."""


def levels(steps: int, shift: float) -> Array:
    """Noise levels, float32 [steps + 1], from nearly 1 to 0, shifted towards noise. Raises `ValueError` for none."""
    return np.append(_shifted(steps, shift), 0).astype(np.float32)


def times(steps: int, shift: float) -> NDArray[np.int64]:
    """The denoiser's time of each step, int64 [steps]: thousandths of its level, cut to whole ones."""
    return (_shifted(steps, shift) * TRAINED_TIMES).astype(np.int64)


def step(latents: Array, velocity: Array, memory: Memory | None, at: int, grid: Array) -> tuple[Array, Memory]:
    """Step number `at` on the grid of `levels`: the next latents, and what the step after it needs.

    `memory` is the last step's, None for the first. Nothing that is handed in is changed.
    """
    clean = _f32(grid[at] * velocity)
    np.subtract(latents, clean, out=clean)
    past: tuple[Array, ...] = ()
    if memory is not None:
        past = memory.clean
        latents = _corrected(memory, clean, at, grid)
    known = (*past, clean)[-_ORDER:]
    order = min(_ORDER, len(grid) - 1 - at, at + 1)
    return _predicted(latents, known, at, grid, order), Memory(latents, known)


def clean(latents: Array, memory: Mapping[str, Array]) -> Array:
    """What the denoiser last took a state for, without its noise; before its first step the state itself."""
    return memory.get("clean_0", latents)


def remembered(state: Denoising) -> Memory | None:
    """What a state remembers. Raises `ValueError` for one that was begun and remembers nothing."""
    if state.step == 0:
        return None
    known = state.memory
    if "before" not in known:
        raise ValueError(f"step: a state after {state.step} steps without memory of them")
    clean: tuple[Array, ...] = tuple(known[name] for name in ("clean_1", "clean_0") if name in known)
    return Memory(known["before"], clean)


def kept(memory: Memory) -> dict[str, Array]:
    """The inverse: `clean_0` is the newest prediction."""
    newest_first = reversed(memory.clean)
    return {"before": memory.before, **{f"clean_{age}": clean for age, clean in enumerate(newest_first)}}


def _shifted(steps: int, shift: float) -> NDArray[np.float64]:
    """The levels but the last, which is 0."""
    if steps < 1:
        raise ValueError(f"steps: {steps}; at least 1")
    even = np.linspace(1, 1 / TRAINED_TIMES, steps + 1)[:-1]
    shifted: NDArray[np.float64] = shift * even / (1 + (shift - 1) * even)
    shifted[0] = min(shifted[0], 1 - _NEAR_ONE)
    return shifted


def _predicted(latents: Array, known: tuple[Array, ...], at: int, grid: Array, order: int) -> Array:
    """UniP: from level `at` to the next."""
    newest = known[-1]
    growth = np.expm1(-(_log_signal(grid, at + 1) - _log_signal(grid, at)))
    moved = grid[at + 1] / grid[at] * latents
    moved -= (1 - grid[at + 1]) * growth * newest
    if order == _ORDER:
        change = _f32(known[-2] - newest)
        change /= _ratio(grid, at, at + 1, at - 1)
        change *= (1 - grid[at + 1]) * growth * np.float32(0.5)
        moved -= change
    return _f32(moved)


def _corrected(memory: Memory, clean: Array, at: int, grid: Array) -> Array:
    """UniC: the last step again, now that `clean` is known at its end; as many predictions as that step knew."""
    newest = memory.clean[-1]
    step_size = _log_signal(grid, at) - _log_signal(grid, at - 1)
    growth = np.expm1(-step_size)
    moved = grid[at] / grid[at - 1] * memory.before
    moved -= (1 - grid[at]) * growth * newest
    correction = _f32(clean - newest)
    if min(_ORDER, len(grid) - at, at) == 1:
        correction *= np.float32(0.5)
    else:
        ratio = _ratio(grid, at - 1, at, at - 2)
        older, now = _weights(ratio, -step_size)
        change = _f32(memory.clean[-2] - newest)
        change /= ratio
        change *= older
        correction *= now
        correction += change
    correction *= (1 - grid[at]) * growth
    moved -= correction
    return _f32(moved)


def _weights(ratio: np.float32, step_size: np.float32) -> Array:
    """Of the older prediction and of the newest, in a correction of second order."""
    growth = np.expm1(step_size)
    first = growth / step_size - 1
    second = first / step_size - np.float32(0.5)
    matrix = np.array([[1, 1], [ratio, 1]], np.float32)
    return _f32(np.linalg.solve(matrix, np.array([first / growth, 2 * second / growth], np.float32)))


def _ratio(grid: Array, start: int, end: int, earlier: int) -> np.float32:
    """How far `earlier` lies before `start`, in steps from `start` to `end`; negative."""
    begin = _log_signal(grid, start)
    return np.float32((_log_signal(grid, earlier) - begin) / (_log_signal(grid, end) - begin))


def _log_signal(grid: Array, at: int) -> np.float32:
    """The logarithm of signal to noise at a level; infinite at the last one, which is clean."""
    with np.errstate(divide="ignore"):
        return np.float32(np.log(1 - grid[at]) - np.log(grid[at]))


def _f32(values: NDArray[np.floating]) -> Array:
    return np.asarray(values, np.float32)
