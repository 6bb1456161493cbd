"""Where the weights of an ONNX graph lie that are not inside it: read from its bytes, before any runtime sees them.

A graph may name any file for its weights, and any place in it; a runtime goes there. `building/lint.py` and the runner
of ONNX Runtime ask here. Needs nothing but the standard library: what serves has no `onnx`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from engines.weights import WeightsFile

TENSOR: Final = "TensorProto"
PARTS: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: TENSOR,
        6: "GraphProto",
        10: TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
}
"""ONNX's messages that lead to a tensor, by number of field; a test compares them with `onnx`."""
_DIMS, _TYPE, _NAME, _EXTERNAL, _LOCATION = 1, 2, 8, 13, 14
"""Fields of a tensor."""
ITEM_BYTES: Final = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 16: 2}
"""Bytes of one value by ONNX's number of its type: float32, uint8, int8, int32, int64, bool, float16, bfloat16."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Protobuf's kinds of fields; groups are none of ONNX's."""


@dataclass
class Tensor:
    """What a graph says of a tensor that lies outside it."""

    name: str = ""
    type: int = 0
    dims: list[int] = field(default_factory=list)
    outside: bool = False
    said: list[tuple[str, str]] = field(default_factory=list)
    """`location`, `offset` and `length`, as text."""


def problems(graph: bytes, files: Sequence[WeightsFile]) -> Iterator[str]:
    """What is wrong with the places that a graph names for weights, one sentence each.

    They may lie in these files alone, within them, and be as long as their shapes say.
    """
    sizes = {file.sha256: file.size for file in files}
    named = set()
    try:
        for tensor in outside(graph):
            where = dict(tensor.said)
            location = where.get("location", "")
            named.add(location)
            begin, length = _number(where.get("offset", "")), _number(where.get("length", ""))
            if len(where) != len(tensor.said) or set(where) != {"location", "offset", "length"}:
                yield f"weights {tensor.name!r} lie outside the graph, by {sorted(where)}"
            elif location not in sizes:
                yield f"weights {tensor.name!r} lie in {location!r:.80}, which is no file of this engine"
            elif begin is None or length is None or begin + length > sizes[location]:
                yield f"weights {tensor.name!r} lie beyond the end of their file"
            elif length != math.prod(tensor.dims) * ITEM_BYTES.get(tensor.type, 0):
                yield f"weights {tensor.name!r} have {length} bytes, and their shape {tensor.dims} others"
    except (ValueError, RecursionError) as error:
        yield f"not an ONNX graph ({error})"
        return
    if sizes.keys() - named:
        yield f"{len(sizes.keys() - named)} files of weights are of no use to the graph"


def outside(graph: bytes) -> Iterator[Tensor]:
    """The tensors that do not lie in the graph. Raises `ValueError` for what is no protobuf."""
    return _walk(memoryview(graph), "ModelProto")


def _walk(data: memoryview, message: str) -> Iterator[Tensor]:
    if message == TENSOR:
        tensor = _tensor(data)
        if tensor.outside:
            yield tensor
        return
    parts = PARTS[message]
    for number, value in _fields(data):
        if number in parts and isinstance(value, memoryview):
            yield from _walk(value, parts[number])


def _tensor(data: memoryview) -> Tensor:
    tensor = Tensor()
    for number, value in _fields(data):
        if isinstance(value, int):
            tensor.dims += [value] if number == _DIMS else []
            tensor.type = value if number == _TYPE else tensor.type
            tensor.outside = tensor.outside or (number == _LOCATION and value != 0)
        elif number == _DIMS:
            tensor.dims += _packed(value)
        elif number == _NAME:
            tensor.name = _text(value)
        elif number == _EXTERNAL:
            tensor.outside = True
            pair = {key: _text(text) for key, text in _fields(value) if isinstance(text, memoryview)}
            tensor.said.append((pair.get(1, ""), pair.get(2, "")))
    return tensor


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, value = tag & 7, 0
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + length > len(data):
            raise ValueError("it is cut off")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it is cut off")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _packed(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _text(data: memoryview) -> str:
    return bytes(data).decode(errors="replace")


def _number(text: str) -> int | None:
    """At least 0; None for what is none. Eighteen digits are more than any file has bytes."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
