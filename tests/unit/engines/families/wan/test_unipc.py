"""UniPC here is diffusers' scheduler, over all steps, and goes on from what it remembers to the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.families.wan import unipc

SHAPE = (3, 4, 6, 8)


def velocity(latents: NDArray[np.float32], time: float) -> NDArray[np.float32]:
    """A denoiser that depends on all of what it is given."""
    return np.asarray(np.sin(3 * latents) + 0.3 * latents + time / 1000, np.float32)


def run(steps: int, shift: float, *, begin: int = 0, state: Any = None) -> list[Any]:
    """(latents, memory) after each step."""
    grid, times = unipc.levels(steps, shift), unipc.times(steps, shift)
    latents = np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)
    memory = None
    if state is not None:
        latents, memory = state
    found = []
    for at in range(begin, steps):
        latents, memory = unipc.step(latents, velocity(latents, float(times[at])), memory, at, grid)
        found.append((latents, memory))
    return found


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 20, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_it_is_the_scheduler_of_diffusers_at_every_step(torch: Any, steps: int, shift: float) -> None:
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)
    np.testing.assert_array_equal(unipc.levels(steps, shift), scheduler.sigmas.numpy())
    np.testing.assert_array_equal(unipc.times(steps, shift), scheduler.timesteps.numpy())
    wanted = torch.from_numpy(np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32))[None]
    for time, (found, _) in zip(scheduler.timesteps, run(steps, shift), strict=True):
        said = torch.from_numpy(velocity(wanted.numpy(), float(time)))
        wanted = scheduler.step(said, time, wanted, return_dict=False)[0]
        np.testing.assert_allclose(found, wanted[0].numpy(), rtol=0, atol=2e-5)


def test_what_it_remembers_is_all_that_it_needs() -> None:
    whole = run(8, 3.0)
    for at in range(1, 8):
        again = run(8, 3.0, begin=at, state=whole[at - 1])
        np.testing.assert_array_equal(again[-1][0], whole[-1][0])


def test_with_the_memory_of_another_step_it_comes_to_another_end() -> None:
    whole = run(8, 3.0)
    latents = run(8, 3.0, begin=4, state=(whole[3][0], whole[2][1]))[-1][0]
    assert np.abs(latents - whole[-1][0]).max() > 1e-3


def test_the_last_step_is_clean_and_finite() -> None:
    assert all(np.isfinite(latents).all() for latents, _ in run(4, 5.0))


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        unipc.levels(0, 3.0)
