"""What an engine is, in plain values: which component of which model, in which shapes, for which runtime.

The store, the runners and the builder pass these around; `key.py` digests them. Nothing here but the standard
library, so that a controller of a cluster can import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

DType = Literal["float32", "int64"]
"""All that a component takes or gives: float32 values, int64 indices."""
OPSET: Final = 20
"""Of ONNX, for every graph: the newest that all runtimes take without known trouble; see `building/lint.py`."""
OPSET_OF_BFLOAT16: Final = 22
"""The first in which convolutions take bfloat16; the operators that our graphs have are the same otherwise."""
Dim = int | str | None
"""A fixed size, the name of a size that may vary, or None where only the rank is known."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a component."""

    name: str
    dtype: DType
    dims: tuple[Dim, ...]

    def __str__(self) -> str:
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.dims)
        return f"{self.name} {self.dtype} [{dims}]"


@dataclass(frozen=True)
class Span:
    """The sizes that a named dim may take, both ends included; `opt` is the one to tune for."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 0 < self.min <= self.opt <= self.max:
            raise ValueError(f"span: {self.min} <= {self.opt} <= {self.max} does not hold, or min is not positive")


@dataclass(frozen=True)
class ComponentSpec:
    """A component's face: names, types and shapes. `spans` bounds every named dim of the inputs."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    spans: Mapping[str, Span]

    def __post_init__(self) -> None:
        named = {dim for tensor in self.inputs for dim in tensor.dims if isinstance(dim, str)}
        if named - set(self.spans):
            raise ValueError(
                f"spans: component {self.name} has no span for {', '.join(sorted(named - set(self.spans)))}"
            )

    @property
    def carried(self) -> frozenset[str]:
        """Outputs that are made for the component's own next call: `cache`, where an input is `cache_in`.

        A runtime may leave them where it computes.
        """
        taken = {(tensor.name, tensor.dtype, len(tensor.dims)) for tensor in self.inputs}
        return frozenset(
            tensor.name for tensor in self.outputs if (f"{tensor.name}_in", tensor.dtype, len(tensor.dims)) in taken
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest or a digest."""
        return {
            "name": self.name,
            "inputs": [_tensor_to_json(tensor) for tensor in self.inputs],
            "outputs": [_tensor_to_json(tensor) for tensor in self.outputs],
            "spans": {name: [span.min, span.opt, span.max] for name, span in sorted(self.spans.items())},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(
            name=text(value["name"]),
            inputs=tuple(_tensor_from_json(tensor) for tensor in value["inputs"]),
            outputs=tuple(_tensor_from_json(tensor) for tensor in value["outputs"]),
            spans={name: Span(*span) for name, span in value["spans"].items()},
        )


@dataclass(frozen=True)
class EngineSpec:
    """Which engine: all that decides what is compiled, save the graph itself and the runtime's version."""

    model: str
    weights_digest: str
    """Over the weights that the graph was exported with."""
    component: ComponentSpec
    runtime: str
    """Its name in `runtimes/registry.py`."""
    precision: str
    """Of its arithmetic: one of `precision.WORDS`' values."""
    profile: str
    """Name of the set of shapes; its sizes stand in `component.spans`."""
    device: str
    """What it was compiled for: `cpu`, or the architecture of an accelerator (`sm89`)."""

    @property
    def variant(self) -> str:
        """Runtime and device, `tensorrt_rtx-sm89`: how the variant of its set begins."""
        return f"{self.runtime}-{self.device}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest or a digest."""
        return {
            "model": self.model,
            "weights_digest": self.weights_digest,
            "component": self.component.to_json(),
            "runtime": self.runtime,
            "precision": self.precision,
            "profile": self.profile,
            "device": self.device,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        names = {name: text(said) for name, said in value.items() if name != "component"}
        return cls(**names, component=ComponentSpec.from_json(value["component"]))


def text(value: object) -> str:
    """A name in a manifest, which is shown to people. Raises `TypeError` for anything else."""
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{value!r:.80} is no name")
    return value


def _tensor_to_json(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "dims": list(tensor.dims)}


def _tensor_from_json(value: Mapping[str, Any]) -> TensorSpec:
    if value["dtype"] not in get_args(DType) or not all(isinstance(dim, Dim) for dim in value["dims"]):
        raise TypeError(f"{value!r:.200} is no tensor")
    return TensorSpec(text(value["name"]), value["dtype"], tuple(value["dims"]))
