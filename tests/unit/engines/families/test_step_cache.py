"""Steps that are not computed: which ones, what takes their place, and the same ones in a run that is resumed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import load, save

from engines.families import step_cache
from engines.families.base import Array, Denoising

STEPS = 30
SHAPE = (3, 4, 6, 8)


def fresh(threshold: float, *, steps: int = STEPS) -> Denoising:
    random = np.random.Generator(np.random.Philox(key=[1, 2]))
    noise = random.standard_normal(SHAPE, dtype=np.float32)
    return Denoising(noise, 0, np.linspace(1, 0, steps + 1, dtype=np.float32), step_cache=threshold)


def flow(state: Denoising) -> Array:
    """Of a denoiser that takes everything for one of two pictures, the nearer one for more."""
    time = max(float(state.times[state.step]), 0.05)
    share = np.tanh(state.latents.mean() / time + state.latents)
    return np.asarray((state.latents - share) / time, np.float32)


def step(state: Denoising, velocity_of: Callable[[Denoising], Array] = flow) -> None:
    velocity = step_cache.again(state) if step_cache.skips(state) else velocity_of(state)
    then = state.latents + (state.times[state.step + 1] - state.times[state.step]) * velocity
    state.memory = step_cache.after(state, velocity, then)
    state.latents, state.step = then, state.step + 1


def run(threshold: float, *, steps: int = STEPS) -> tuple[list[int], Denoising]:
    """The steps that were not computed, and the end."""
    state, found = fresh(threshold, steps=steps), []
    while not state.done:
        if step_cache.skips(state):
            found.append(state.step)
        step(state)
    return found, state


def test_without_a_threshold_every_step_is_computed_and_nothing_is_remembered() -> None:
    found, state = run(0.0)
    assert (found, state.memory, step_cache.skipped(state.memory)) == ([], {}, 0)


def test_a_higher_threshold_skips_more_and_ends_further_away() -> None:
    _, exact = run(0.0)
    runs = [run(threshold) for threshold in (0.01, 0.05, 0.2)]
    counts = [len(found) for found, _ in runs]
    off = [float(np.abs(state.latents - exact.latents).mean()) for _, state in runs]
    assert 0 < counts[0] < counts[1] < counts[2]
    assert off == sorted(off)
    assert off[0] < 0.02 < float(np.abs(exact.latents).mean())
    assert [step_cache.skipped(state.memory) for _, state in runs] == counts


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 12, 30])
def test_the_first_fifth_and_the_last_step_are_always_computed(steps: int) -> None:
    found, _ = run(0.999, steps=steps)
    assert all(max(2, steps / 5) <= step < steps - 1 for step in found)
    assert bool(found) is (steps > 3)


def test_what_the_denoiser_added_when_it_was_last_asked_is_added_again() -> None:
    state, seen = fresh(0.2), 0
    asked: tuple[Array, Array] = state.latents, state.latents
    while not state.done:
        if step_cache.skips(state):
            seen += 1
            np.testing.assert_allclose(step_cache.again(state) - state.latents, asked[1] - asked[0], atol=1e-6)
        else:
            asked = state.latents, flow(state)
        step(state)
    assert seen > 3


def test_a_run_that_is_resumed_after_any_step_skips_the_same_and_ends_in_the_same_bytes() -> None:
    skipped, whole = run(0.05)
    for at in range(1, STEPS):
        before = fresh(0.05)
        for _ in range(at):
            step(before)
        kept = load(save({"latents": before.latents, **before.memory}))
        state = fresh(0.05)
        state.latents, state.step = kept.pop("latents"), at
        state.memory = kept
        found = []
        while not state.done:
            if step_cache.skips(state):
                found.append(state.step)
            step(state)
        assert found == [number for number in skipped if number >= at]
        assert state.latents.tobytes() == whole.latents.tobytes()
        assert step_cache.skipped(state.memory) == len(skipped)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_velocity_that_tells_nothing_is_never_reused(value: float) -> None:
    state = fresh(0.9)
    with np.errstate(invalid="ignore"):
        while not state.done:
            step(state, lambda now: np.full_like(now.latents, value))
    assert step_cache.skipped(state.memory) == 0
