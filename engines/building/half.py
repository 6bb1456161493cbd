"""Makes a component compute in half precision, with islands of float32: half by export.

`export.py` and the measurements of `verify.py` call it. Layers that multiply by weights (`Linear`, convolutions,
embeddings) have their weights in half and compute in half. Norms, and what a family names (`GraphSpec.float32`: how a
time is embedded), stay in float32, weights and all; so does every sum, softmax and power of the graph (`widen`). Inputs
and outputs stay float32, so that families and stages see no difference. Needs the extra `longtake[build]`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from engines.families.graph import GraphSpec
from engines.precision import FULL

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch import nn

ISLANDS: Final = frozenset(
    {"Cos", "Exp", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Log", "LogSoftmax", "Pow"}
    | {"Reciprocal", "ReduceL2", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Sin", "Softmax", "Sqrt"}
)
"""Operators that lose too much in half, or leave its range: sums over many values, and steep functions."""


def halved(graph: GraphSpec, precision: str) -> GraphSpec:
    """The component in this precision: a copy that shares what stays in float32. `float32`: as it is."""
    import torch

    if precision == FULL:
        return graph
    return replace(graph, module=_converted(graph.module, graph.float32, getattr(torch, precision)))


def widen(model: ir.Model) -> None:
    """Let every operator of `ISLANDS` compute in float32, between casts, where the module left it in half."""
    import onnx_ir as ir

    halves = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    for node in list(model.graph):
        half = next((value.dtype for value in node.inputs if value is not None and value.dtype in halves), None)
        if node.op_type not in ISLANDS or half is None:
            continue
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype in halves:
                cast = _cast_node(value, ir.DataType.FLOAT)
                model.graph.insert_before(node, cast)
                node.replace_input_with(place, cast.outputs[0])
        for output in node.outputs:
            uses = tuple(output.uses())
            output.type = ir.TensorType(ir.DataType.FLOAT)
            back = _cast_node(output, half)
            model.graph.insert_after(node, back)
            for use in uses:
                use.node.replace_input_with(use.idx, back.outputs[0])


def _cast_node(value: ir.Value, to: ir.DataType) -> ir.Node:
    import onnx_ir as ir

    node = ir.node("Cast", [value], {"to": to.value})
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(to), value.shape
    return node


def _converted(module: nn.Module, kept: tuple[str, ...], half: torch.dtype) -> nn.Module:
    from torch import float32, nn

    layers = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    islands = set(_islands(module, kept))
    products = [
        path
        for path, layer in module.named_modules()
        if isinstance(layer, layers) and not any(_within(path, island) for island in islands)
    ]
    copied = _copied(module, products, half)
    for path in products:
        _wrap(copied.get_submodule(path), inside=half)
    for path in islands:
        _wrap(copied.get_submodule(path), inside=float32, back=True)
    _wrap(copied, outside=float32)
    return copied


def _copied(module: nn.Module, products: list[str], half: torch.dtype) -> nn.Module:
    """A copy that has the weights of these layers in half, and shares all others with the module."""
    from torch import nn

    memo: dict[int, Any] = {id(value): value for value in (*module.parameters(), *module.buffers())}
    for path in products:
        for value in module.get_submodule(path).parameters(recurse=False):
            memo[id(value)] = nn.Parameter(value.detach().to(half), requires_grad=False)
    return copy.deepcopy(module, memo)


def _islands(module: nn.Module, kept: tuple[str, ...]) -> Iterator[str]:
    """Paths of the outermost modules that stay in float32."""
    found: list[str] = []
    for path, part in module.named_modules():
        named = any(name in path.split(".") for name in kept) or "norm" in type(part).__name__.lower()
        if path and named and not any(_within(path, island) for island in found):
            found.append(path)
            yield path


def _within(path: str, island: str) -> bool:
    return path == island or path.startswith(f"{island}.")


def _wrap(
    module: nn.Module, *, inside: torch.dtype | None = None, outside: torch.dtype | None = None, back: bool = False
) -> None:
    """Let a module be given values of one type, and give those of another; `back`: of the type that it was given."""
    forward: Callable[..., Any] = module.forward

    @wraps(forward)
    def wrapped(*args: Any, **named: Any) -> Any:
        given = next((value.dtype for value in (*args, *named.values()) if _floating(value)), None)
        results = forward(*_cast(args, inside), **_cast(named, inside))
        return _cast(results, given if back else outside)

    module.forward = wrapped


def _cast(values: Any, to: torch.dtype | None) -> Any:
    """Floating values, alone or in a tuple or a dict; all else as it is."""
    if to is None:
        return values
    if isinstance(values, tuple):
        return tuple(_cast(value, to) for value in values)
    if isinstance(values, Mapping):
        return {name: _cast(value, to) for name, value in values.items()}
    return values.to(to) if _floating(values) else values


def _floating(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()
