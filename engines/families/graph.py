"""A component as an exporter takes it: a torch module, with what must be known about its inputs.

A family's `graphs` makes them, `building/export.py` turns them into ONNX.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class GraphSpec:
    """One graph to export."""

    module: nn.Module
    """Takes the inputs and gives the outputs in the order of their names; float32 values, int64 indices."""
    example_inputs: tuple[Tensor, ...]
    """Their sizes are those to tune for."""
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_shapes: tuple[Mapping[int, Any], ...]
    """For each input: dimension → torch.export.Dim."""
    float32: tuple[str, ...] = ()
    """Attributes, at any depth of the module, that stay in float32 where the rest is in half (`building/half.py`)."""

    @property
    def shapes(self) -> tuple[Any, ...]:
        """The open sizes as `torch.export` wants them: of the inputs that a `*rest` takes, one tuple."""
        kinds = [parameter.kind for parameter in inspect.signature(self.module.forward).parameters.values()]
        named = len(kinds) - kinds.count(inspect.Parameter.VAR_POSITIONAL)
        rest = self.dynamic_shapes[named:]
        return (*self.dynamic_shapes[:named], *([rest] if rest else []))
