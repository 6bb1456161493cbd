"""Whether a Wan checkpoint's schedule is the one that is computed here. `architecture.py` asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engines.errors import CheckpointUnfit
from engines.families.wan.unipc import TRAINED_TIMES

_SCHEDULER: Final[dict[str, Any]] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "solver_order": 2,
    "solver_type": "bh2",
    "predict_x0": True,
    "lower_order_final": True,
    "final_sigmas_type": "zero",
    "thresholding": False,
    "num_train_timesteps": TRAINED_TIMES,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
    "solver_p": None,
    "disable_corrector": [],
}
"""What `sampler.py` computes; any other value of a checkpoint is refused and not ignored."""
_UNSAID: Final[dict[str, Any]] = {"prediction_type": "epsilon", "use_flow_sigmas": False}
"""What a configuration means that leaves these out; of the others the default is what is computed."""

_STRONGEST: Final = 1000
"""Of `flow_shift`: with more, all steps but the last are nearly of one time."""


def shift_of(config: Mapping[str, Any]) -> float:
    """`flow_shift`, when all else is as `sampler.py` computes it. Raises `CheckpointUnfit`."""
    for name, value in _SCHEDULER.items():
        said = config.get(name, _UNSAID.get(name, value))
        if said != value:
            raise CheckpointUnfit(
                f"scheduler: {name} is {said!r}, and {value!r} is what is computed here; "
                "change it in scheduler_config.json if the model allows it"
            )
    shift = float(config.get("flow_shift", 1.0))
    if not 0 < shift <= _STRONGEST:
        raise CheckpointUnfit(
            f"scheduler: flow_shift is {shift}; a number above 0, such as 3 for 480p and 5 for 720p, and "
            f"{_STRONGEST} at most: change it in scheduler_config.json"
        )
    return shift
