"""What a server says of an engine, and answers to calls, held against the engine's face. Pure.

`connection.py` asks: a server's word is believed in nothing that a component's spec can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engines.errors import EngineError
from engines.runtimes.base import Arrays
from engines.spec import ComponentSpec, Dim, DType, TensorSpec

TYPES: Final[Mapping[DType, str]] = {"float32": "FP32", "int64": "INT64"}
"""As the server's protocol calls them."""
FREE: Final = -1
"""A size that may vary, in that protocol."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """A tensor as the server tells of it."""

    name: str
    type: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.name} {self.type} {list(self.shape)}"


def demand_face(component: ComponentSpec, inputs: Sequence[Told], outputs: Sequence[Told], where: str) -> None:
    """Raise `EngineError` naming `where` unless the server's model has this component's tensors, in any order."""
    for kind, told, wanted in (("takes", inputs, component.inputs), ("gives", outputs, component.outputs)):
        found, said = sorted(map(str, told)), sorted(str(_face(tensor)) for tensor in wanted)
        if found != said:
            raise EngineError(
                f"{where}: it {kind} {', '.join(found) or 'nothing'}, and {component.name} {kind} {', '.join(said)}: "
                "have the server load the folder as `longtake engines triton-repo` writes it"
            )


def sizes_of(component: ComponentSpec, inputs: Arrays) -> dict[str, int]:
    """The sizes of the named dims in a call's inputs, which were checked."""
    return {
        dim: size
        for tensor in component.inputs
        for dim, size in zip(tensor.dims, inputs[tensor.name].shape, strict=True)
        if isinstance(dim, str)
    }


def shape_of(tensor: TensorSpec, sizes: Mapping[str, int]) -> tuple[int | None, ...]:
    """The shape that an output has in a call with these sizes; None for what they do not tell."""
    return tuple(_size(dim, sizes) for dim in tensor.dims)


def demand_answer(component: ComponentSpec, tensor: TensorSpec, told: Told | None, sizes: Mapping[str, int]) -> Shape:
    """The shape of an output, as it was told with the answer. Raises `EngineError` for one that is not the engine's."""
    wanted = shape_of(tensor, sizes)
    if (
        told is None
        or told.type != TYPES[tensor.dtype]
        or len(told.shape) != len(wanted)
        or any(
            size < 0 or size != (size if want is None else want) for size, want in zip(told.shape, wanted, strict=True)
        )
    ):
        raise EngineError(
            f"{component.name}: the server answered with {told or 'nothing'} for {tensor}, in a call with "
            f"{dict(sizes)}: it does not run this engine"
        )
    return told.shape


def _face(tensor: TensorSpec) -> Told:
    return Told(tensor.name, TYPES[tensor.dtype], tuple(dim if isinstance(dim, int) else FREE for dim in tensor.dims))


def _size(dim: Dim, sizes: Mapping[str, int]) -> int | None:
    """Of `8*h` too, where `h` is known."""
    if not isinstance(dim, str):
        return dim
    times, star, name = dim.partition("*")
    if dim not in sizes and star and times.isdecimal() and name in sizes:
        return int(times) * sizes[name]
    return sizes.get(dim)
