"""What the compiling process is asked, and what it says: plain values that cross the pipe as JSON.

`compiling.py` asks, `compiler.py` answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from engines.errors import EngineUnfit
from engines.spec import ComponentSpec, TensorSpec

GRAPH: Final = "graph.onnx"
PLAN: Final = "engine.plan"
TIMINGS: Final = "timings"
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """One engine to compile; the graph lies beside it in the folder."""

    module: str
    """`tensorrt` or `tensorrt_rtx`."""
    component: ComponentSpec
    target: int | None
    """A compute capability, 89 for sm89; None for the GPU at hand."""
    timings: bool = False
    """Whether it shall tell how fast kernels were, and use what lies in the folder of earlier builds."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**vars(self), "component": self.component.to_json()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse."""
        value = json.loads(text)
        return cls(value["module"], ComponentSpec.from_json(value["component"]), value["target"], value["timings"])


@dataclass(frozen=True)
class Compiled:
    """What came of it."""

    plan: bytes
    seconds: float
    """Within the compiler: parsing and building."""
    peak_bytes: int
    """Resident memory of the compiling process, at most."""


def shapes(component: ComponentSpec) -> dict[str, tuple[Sizes, Sizes, Sizes]]:
    """The least, usual and largest shape of each input that has a free size.

    Raises `EngineUnfit` for a size without a name: nothing bounds it.
    """
    return {
        tensor.name: (
            tuple(_size(component, tensor, dim, 0) for dim in tensor.dims),
            tuple(_size(component, tensor, dim, 1) for dim in tensor.dims),
            tuple(_size(component, tensor, dim, 2) for dim in tensor.dims),
        )
        for tensor in component.inputs
        if not all(isinstance(dim, int) for dim in tensor.dims)
    }


def _size(component: ComponentSpec, tensor: TensorSpec, dim: int | str | None, which: int) -> int:
    if dim is None:
        raise EngineUnfit(f"{component.name}: a size of input {tensor} has no name: name it in the family's graph")
    if isinstance(dim, int):
        return dim
    span = component.spans[dim]
    return (span.min, span.opt, span.max)[which]


def graph_file(folder: Path) -> Path:
    """Where the graph lies."""
    return folder / GRAPH


def timings_file(folder: Path) -> Path:
    """Where timings are found, and put."""
    return folder / TIMINGS


def plan_file(folder: Path) -> Path:
    """Where the engine is put."""
    return folder / PLAN
