"""Takes the large weights out of a graph, and puts them into files beside it.

`export.py` calls it, where the runtime takes such engines. Where the weights come to little they stay inside, and the
graph is the bytes that it always was. Needs the extra `longtake[build]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engines.weights import CHUNK_BYTES, WeightsFile, WeightsFolder

if TYPE_CHECKING:
    import onnx_ir as ir

BESIDE_FROM: Final = 64 << 20
"""Bytes of all weights of a graph. Below it they stay inside."""
LARGE_BYTES: Final = 64 << 10
"""Of one tensor: smaller ones stay inside, where shapes are inferred from them and whoever reads a graph sees them."""
FILE_BYTES: Final = 1 << 30
"""Of one file, unless a single tensor is larger: S3 takes up to 5 GiB at once, and a failed upload begins again."""
ALIGNED: Final = 4096
"""Tensors begin at multiples of this: runtimes map pages."""


def move_out(model: ir.Model, folder: WeightsFolder) -> tuple[WeightsFile, ...]:
    """Write the large weights into files of this folder, and let the graph name them by digest, place and length.

    The same weights give the same files. Nothing is written where all weights are less than `BESIDE_FROM`.
    """
    import onnx_ir as ir

    weights = [value for value in model.graph.initializers.values() if value.const_value is not None]
    if sum(_size(value) for value in weights) < BESIDE_FROM:
        return ()
    large = sorted((value for value in weights if _size(value) >= LARGE_BYTES), key=lambda value: value.name or "")
    files = []
    for group in _groups(large):
        file = folder.put(_bytes(group))
        files.append(file)
        for value, begin in zip(group, _begins(group), strict=True):
            tensor = value.const_value
            assert tensor is not None
            value.const_value = ir.ExternalTensor(
                location=file.sha256,
                offset=begin,
                length=tensor.nbytes,
                dtype=tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=value.name or "",
                base_dir=folder.path,
            )
    return tuple(files)


def bytes_inside(model: ir.Model) -> int:
    """Of the weights that are left in a graph."""
    import onnx_ir as ir

    weights = model.graph.initializers.values()
    return sum(_size(value) for value in weights if not isinstance(value.const_value, ir.ExternalTensor))


def _groups(values: Sequence[ir.Value]) -> Iterator[list[ir.Value]]:
    """What comes into one file, in order."""
    group: list[ir.Value] = []
    size = 0
    for value in values:
        if group and size + _size(value) > FILE_BYTES:
            yield group
            group, size = [], 0
        group.append(value)
        size += _size(value)
    if group:
        yield group


def _begins(group: Sequence[ir.Value]) -> Iterator[int]:
    at = 0
    for value in group:
        yield at
        at = _aligned(at + _size(value))


def _bytes(group: Sequence[ir.Value]) -> Iterator[bytes]:
    end = 0
    for value, begin in zip(group, _begins(group), strict=True):
        yield bytes(begin - end)
        assert value.const_value is not None
        yield from _pieces(value.const_value.numpy())
        end = begin + _size(value)


def _pieces(values: NDArray[np.generic]) -> Iterator[bytes]:
    """The bytes of an array, not copied whole."""
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    for begin in range(0, flat.size, CHUNK_BYTES):
        yield flat[begin : begin + CHUNK_BYTES].tobytes()


def _size(value: ir.Value) -> int:
    return 0 if value.const_value is None else int(value.const_value.nbytes)


def _aligned(at: int) -> int:
    return -(-at // ALIGNED) * ALIGNED
