"""The reference runner answers as an engine does, behind the same face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.spec import ComponentSpec

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch", reason="the torch runner needs longtake[build]")


def test_it_hands_inputs_to_the_module_in_the_order_of_the_spec(doubler: ComponentSpec) -> None:
    from engines.runtimes.torch import TorchRunner

    class Doubler(torch.nn.Module):
        def forward(self, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
            return 2 * x + i[:, None]

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with TorchRunner(doubler, Doubler()) as runner:
        found = runner.infer({"i": np.array([10, 20]), "x": x})
        np.testing.assert_array_equal(found["y"], 2 * x + np.array([[10], [20]]))
        with pytest.raises(ValueError, match="missing inputs i"):
            runner.infer({"x": x})
