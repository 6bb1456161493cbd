"""Runs a component as the torch module that its engine was exported from: the reference that `verify`
compares with.

It is a `Runner` and no `Runtime`: what it runs is the module itself, which no bytes stand for, so the registry does not
know it and no manifest can name it. Needs the extra `longtake[build]`; slower than an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.runtimes.base import Arrays, Runner
from engines.spec import ComponentSpec

if TYPE_CHECKING:
    from torch import nn


class TorchRunner(Runner):
    """One module, on the CPU, in float32."""

    def __init__(self, component: ComponentSpec, module: nn.Module) -> None:
        """The module takes the inputs and gives the outputs in the order of the spec."""
        super().__init__(component)
        self._module = module

    def _load(self) -> None:
        self._module.eval()

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        import torch

        with torch.inference_mode():
            values = [torch.from_numpy(np.ascontiguousarray(inputs[t.name])) for t in self.component.inputs]
            found = self._module(*values)
        results = found if isinstance(found, tuple) else (found,)
        names = [tensor.name for tensor in self.component.outputs]
        return {name: result.numpy() for name, result in zip(names, results, strict=True)}

    def _unload(self) -> None:
        """The module belongs to the caller: nothing to let go of."""
