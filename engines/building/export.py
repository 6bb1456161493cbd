"""Turns a model's torch modules into ONNX graphs, with nothing of this machine in the bytes.

`build.py` calls it. Needs the extra `longtake[build]`.
"""

from __future__ import annotations

import logging
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from engines.building import beside, half
from engines.building.lint import MAX_BYTES, opset_of
from engines.errors import EngineUnfit
from engines.precision import FULL
from engines.spec import ComponentSpec, DType, Span, TensorSpec
from engines.weights import WeightsFile, WeightsFolder

if TYPE_CHECKING:
    import onnx

    from engines.families.graph import GraphSpec


class Exported(NamedTuple):
    """A component as an ONNX graph."""

    graph: bytes
    component: ComponentSpec
    weights: tuple[WeightsFile, ...]
    """The files beside it."""


def export(name: str, graph: GraphSpec, folder: WeightsFolder | None = None, *, precision: str = FULL) -> Exported:
    """One component as a graph, in this precision. Many weights go into files of the folder; without one they are all
    inside.

    The same module with the same weights gives the same bytes with the same versions of torch and onnxscript. Raises
    `EngineUnfit` for more weights than a graph has room for.
    """
    import torch

    graph = half.halved(graph, precision)
    # Exporter and optimizer tell of every pass through logging; what goes wrong they raise.
    for library in ("torch.onnx", "onnxscript"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)  # the same name on two inputs is meant
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's own, within its exporter
        program = torch.onnx.export(
            graph.module.eval(),
            graph.example_inputs,
            dynamo=True,
            opset_version=opset_of(precision),
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            dynamic_shapes=graph.shapes,
            verbose=False,
        )
    program = cast("torch.onnx.ONNXProgram", program)
    if precision != FULL:
        half.widen(program.model)
    weights = beside.move_out(program.model, folder) if folder else ()
    inside = beside.bytes_inside(program.model)
    if inside > MAX_BYTES:
        raise EngineUnfit(
            f"{name}: {inside / 1e6:.1f} MB of weights inside the graph; at most {MAX_BYTES / 1e6:.1f}: build it "
            "into a store, for a runtime that takes weights beside the graph"
        )
    model = program.model_proto
    _strip(model)
    face = _face(name, model, _spans(graph))
    return Exported(model.SerializeToString(deterministic=True), face, weights)


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the runtime does not need: stack traces with paths, notes, shapes of what lies between."""
    model.producer_name, model.producer_version, model.doc_string = "longtake", "", ""
    model.graph.name, model.graph.doc_string = "graph", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    parts: list[Any] = [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]
    for function in model.functions:
        parts += [function, *function.node]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    inputs = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim}
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            # Sizes that the exporter named itself ("s39") say nothing, and change from run to run.
            if dim.dim_param and not set(re.findall(r"[A-Za-z_]\w*", dim.dim_param)) <= _symbols(inputs):
                dim.ClearField("dim_param")


def _symbols(names: set[str]) -> set[str]:
    return {symbol for name in names for symbol in re.findall(r"[A-Za-z_]\w*", name)}


def _spans(graph: GraphSpec) -> dict[str, Span]:
    """The bounds of each named dim; the example's size is the one to tune for."""
    spans = {}
    for example, dims in zip(graph.example_inputs, graph.dynamic_shapes, strict=True):
        for axis, dim in dims.items():
            spans[dim.__name__] = Span(int(dim.min), int(example.shape[axis]), int(dim.max))
    return spans


def _face(name: str, model: onnx.ModelProto, spans: dict[str, Span]) -> ComponentSpec:
    return ComponentSpec(
        name=name,
        inputs=tuple(_tensor(value) for value in model.graph.input),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        spans=spans,
    )


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    types: dict[int, DType] = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}
    tensor = value.type.tensor_type
    if tensor.elem_type not in types:
        found = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise ValueError(f"{value.name}: {found}; a component takes and gives float32 and int64")
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
    return TensorSpec(value.name, types[tensor.elem_type], dims)
