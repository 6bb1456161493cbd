"""Refuses graphs that some runtime would refuse later, or that say more than they should.

`build.py` runs it between export and compilation, which may take an hour. Here is what holds for every runtime: the
same graph goes to all of them, and TensorRT stumbles over control flow and over newer operators. What one runtime alone
refuses, it knows itself (`Runtime.refusals`). Needs `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from engines import references
from engines.building.half import ISLANDS
from engines.errors import EngineUnfit
from engines.precision import FULL, HALVES
from engines.runtimes.base import Runtime
from engines.spec import OPSET, OPSET_OF_BFLOAT16
from engines.weights import WeightsFile

if TYPE_CHECKING:
    import onnx

MAX_BYTES: Final = 2**31 - 1
"""Of one graph with what is inside it: as far as protobuf goes, ONNX's own format."""
CONTROL_FLOW: Final = {"If", "Loop", "Scan", "SequenceMap"}
RANDOM: Final = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
"""Noise comes in as input, so that a seed decides it."""
REFUSED_TYPES: Final = ("DOUBLE", *map(str.upper, HALVES), "COMPLEX64", "COMPLEX128", "STRING")
"""Save the precision that the graph is exported in."""


def lint(name: str, graph: bytes, weights: Sequence[WeightsFile] = (), *, precision: str = FULL) -> None:
    """Raise `EngineUnfit` naming all that is wrong with a graph of this precision that has these files beside it, for
    any runtime."""
    import onnx

    model = onnx.load_from_string(graph)
    found = [*problems(model, len(graph), precision), *references.problems(graph, weights)]
    _open(model)
    onnx.checker.check_model(model, full_check=True)
    if precision != FULL:
        found += _outside_islands(onnx.shape_inference.infer_shapes(model), precision)
    if found:
        raise EngineUnfit(f"{name}: " + "; ".join(found))


def opset_of(precision: str) -> int:
    """The opset of graphs in this precision."""
    return OPSET_OF_BFLOAT16 if precision == "bfloat16" else OPSET


def lint_for(name: str, graph: bytes, runtime: Runtime, device: str) -> None:
    """Raise `EngineUnfit` naming all that this runtime refuses of a graph for this device."""
    import onnx

    def read() -> onnx.ModelProto:
        return onnx.shape_inference.infer_shapes(onnx.load_from_string(graph), data_prop=True)

    found = list(runtime.refusals(read, device))
    if found:
        raise EngineUnfit(f"{name}: {runtime.name} does not take the graph for {device}: {'; '.join(found)}")


def problems(model: onnx.ModelProto, size: int, precision: str = FULL) -> Iterator[str]:
    """What is wrong with a graph of this precision, one sentence each."""
    refused = frozenset(REFUSED_TYPES) - {precision.upper()}
    if size > MAX_BYTES:
        yield f"{size / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:.1f}"
    opset = {imported.domain or "ai.onnx": imported.version for imported in model.opset_import}.get("ai.onnx")
    if opset != opset_of(precision):
        yield f"opset {opset}; {opset_of(precision)} is what every runtime takes"
    # The exporter may leave local functions: their nodes count as the graph's own.
    local = {function.domain for function in model.functions} | {"", "ai.onnx"}
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        yield from _node_problems(node, local, refused)
    for tensor in model.graph.initializer:
        yield from _weight_problems(tensor, refused, precision)


def _open(model: onnx.ModelProto) -> None:
    """Make inputs of the weights that lie outside: the checker looks for their files otherwise, and needs types and
    shapes alone."""
    import onnx

    outside = [tensor for tensor in model.graph.initializer if tensor.data_location == tensor.EXTERNAL]
    for tensor in outside:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        model.graph.initializer.remove(tensor)


def _outside_islands(model: onnx.ModelProto, precision: str) -> Iterator[str]:
    """Operators that compute in half and shall not. `model` tells the types of what lies between."""
    values = (*model.graph.value_info, *model.graph.input)
    types = {value.name: _type_name(value.type.tensor_type.elem_type) for value in values}
    types |= {tensor.name: _type_name(tensor.data_type) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ISLANDS and any(types.get(name) == precision.upper() for name in node.input):
            yield f"{node.op_type} {node.name!r} computes in {precision}: it is for float32"


def _node_problems(node: onnx.NodeProto, domains: set[str], refused: frozenset[str]) -> Iterator[str]:
    if node.op_type in CONTROL_FLOW:
        yield f"control flow ({node.op_type} {node.name!r}): trace the module without branches on values"
    if node.op_type in RANDOM:
        yield f"noise from inside ({node.op_type} {node.name!r}): hand it in"
    if node.domain not in domains:
        yield f"operator {node.domain}::{node.op_type} is not of ONNX itself"
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and _type_name(attribute.i) in refused:
            yield f"a cast to {_type_name(attribute.i)} ({node.name!r})"


def _weight_problems(tensor: onnx.TensorProto, refused: frozenset[str], precision: str) -> Iterator[str]:
    if _type_name(tensor.data_type) in refused:
        allowed = "float32 alone" if precision == FULL else f"float32 and {precision} alone"
        yield f"weights {tensor.name!r} are {_type_name(tensor.data_type)}; {allowed}"


def _type_name(number: int) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(number))
