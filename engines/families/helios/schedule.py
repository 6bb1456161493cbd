"""How much noise is left after each step of a Helios, as diffusers' `HeliosScheduler` and its pipeline have it. Pure.

`architecture.py` reads it from a checkpoint, `sampler.py` steps by it. With dynamic shifting the larger a chunk, the
longer it stays noisy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.errors import CheckpointUnfit
from engines.families.base import Array
from engines.families.wan.unipc import TRAINED_TIMES

_SCHEDULER: Final[dict[str, Any]] = {
    "stages": 1,
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "solver_order": 2,
    "solver_type": "bh2",
    "predict_x0": True,
    "lower_order_final": True,
    "thresholding": False,
    "num_train_timesteps": TRAINED_TIMES,
    "solver_p": None,
    "disable_corrector": [],
}
"""What is computed here; any other value of a checkpoint is refused and not ignored."""
_UNSAID: Final[dict[str, Any]] = {"stages": 3}
"""What a configuration means that leaves these out; of the others the default is what is computed."""
_FIRST: Final = 0.999
"""The level of noise that a chunk begins with, before it is shifted."""
_SHIFTS: Final = ("exponential", "linear")


@dataclass(frozen=True)
class Schedule:
    """A checkpoint's."""

    corrects: bool
    """UniPC, else plain steps of Euler."""
    shift: str = ""
    """How levels are shifted by the size of a chunk; "" for not at all."""
    sizes: tuple[float, float] = (256, 4096)
    """Tokens of a chunk between which the shift grows."""
    shifts: tuple[float, float] = (0.5, 1.15)
    """What it is there."""

    def levels(self, steps: int, tokens: int) -> Array:
        """Noise levels of a chunk of so many tokens, float32 [steps + 1], the last one 0."""
        return np.append(self._shifted(steps, tokens), 0).astype(np.float32)

    def times(self, steps: int, tokens: int) -> NDArray[np.float64]:
        """The denoiser's time of each step, [steps]: thousandths of its level."""
        return self._shifted(steps, tokens) * TRAINED_TIMES

    def _shifted(self, steps: int, tokens: int) -> NDArray[np.float64]:
        """The levels but the last. Raises `ValueError` for none."""
        if steps < 1:
            raise ValueError(f"steps: {steps}; at least 1")
        even: NDArray[np.float64] = np.linspace(_FIRST, 0, steps + 1)[:-1]
        if not self.shift:
            return even
        (least, most), (low, high) = self.sizes, self.shifts
        by = low + (tokens - least) * (high - low) / (most - least)
        by = math.exp(by) if self.shift == "exponential" else by
        return by / (by + (1 / even - 1))


def read(config: Mapping[str, Any]) -> Schedule:
    """A checkpoint's schedule. Raises `CheckpointUnfit` for one that is not computed here."""
    for name, value in _SCHEDULER.items():
        said = config.get(name, _UNSAID.get(name, value))
        if said != value:
            raise CheckpointUnfit(
                f"scheduler: {name} is {said!r}, and {value!r} is what is computed here; take a checkpoint of "
                "HeliosPipeline as it was published, such as Helios-Base"
            )
    solver, how = config.get("scheduler_type", "unipc"), config.get("time_shift_type", "exponential")
    if solver not in ("unipc", "euler") or how not in _SHIFTS:
        raise CheckpointUnfit(
            f"scheduler: scheduler_type is {solver!r} and time_shift_type {how!r}; it is unipc or euler, and "
            f"{' or '.join(_SHIFTS)}"
        )
    if not config.get("use_dynamic_shifting", False):
        return Schedule(solver == "unipc")
    if config.get("shift", 1.0) != 1.0:
        raise CheckpointUnfit(f"scheduler: shift is {config['shift']} beside use_dynamic_shifting; then it is 1")
    numbers = [
        float(config.get(name, unsaid))
        for name, unsaid in (
            ("base_image_seq_len", 256),
            ("max_image_seq_len", 4096),
            ("base_shift", 0.5),
            ("max_shift", 1.15),
        )
    ]
    if not all(map(math.isfinite, numbers)) or numbers[0] == numbers[1] or min(numbers[2:]) <= 0:
        raise CheckpointUnfit(f"scheduler: {numbers} as image_seq_len and shift; two sizes, and two numbers above 0")
    return Schedule(solver == "unipc", how, (numbers[0], numbers[1]), (numbers[2], numbers[3]))
