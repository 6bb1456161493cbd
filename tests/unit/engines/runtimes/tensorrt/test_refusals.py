"""What the lint says of a graph is what the real compiler says, only at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines import models
from engines.building import lint
from engines.errors import EngineUnfit
from engines.runtimes.registry import SHIPPED
from engines.runtimes.tensorrt import refusals
from engines.runtimes.tensorrt.compiling import compile_in_child
from engines.runtimes.tensorrt.request import Request
from engines.spec import OPSET, ComponentSpec, Span, TensorSpec

FLAT, PICTURE = ("B", 8), ("B", 4, 8, 8)
KNOWN = """
import json, onnx.defs, tensorrt_rtx as trt
log = trt.Logger(trt.Logger.ERROR)
parser = trt.OnnxParser(trt.Builder(log).create_network(0), log)
known = [one for one in onnx.defs.get_all_schemas_with_history() if one.domain == "" and not one.deprecated]
operators = {one.name for one in known if one.since_version <= OPSET}
print(json.dumps([name for name in operators if not parser.supports_operator(name)]))
"""

rtx = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import tensorrt_rtx"], capture_output=True).returncode != 0,
    reason="the compiler that is asked comes with the extra longtake[tensorrt_rtx]",
)


class Case:
    """A graph that is refused: nodes from `x` to `y`, and what the lint says of it."""

    def __init__(
        self,
        says: str,
        nodes: Sequence[onnx.NodeProto],
        *,
        x: Sequence[int | str] = FLAT,
        y: Sequence[int | str] | None = None,
        weights: Sequence[onnx.TensorProto] = (),
        target: int = 89,
        more: str = "",
    ) -> None:
        self.says, self.target = says, target
        y = x if y is None else y
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)]
        outputs += [helper.make_tensor_value_info(more, TensorProto.INT64, y)] if more else []
        graph = helper.make_graph(
            nodes, "case", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)], outputs, list(weights)
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        self.graph: bytes = model.SerializeToString()
        self.component = ComponentSpec(
            "case",
            (TensorSpec("x", "float32", tuple(x)),),
            (TensorSpec("y", "float32", tuple(y)),),
            {"B": Span(1, 2, 4)},
        )

    def __repr__(self) -> str:
        return self.says


def constant(name: str, values: Any, kind: int = TensorProto.FLOAT) -> onnx.TensorProto:
    array = np.asarray(values)
    return helper.make_tensor(name, kind, array.shape, array.ravel())


def through(kind: int) -> list[onnx.NodeProto]:
    """x, cast to a type and back."""
    return [
        helper.make_node("Cast", ["x"], ["there"], name="cast", to=kind),
        helper.make_node("Cast", ["there"], ["y"], to=TensorProto.FLOAT),
    ]


SQUARE = constant("w", np.eye(8, dtype=np.float32))
SCALES = constant("scales", [1.0, 1.0, 2.0, 2.0])
LARGE = ("B", 4, 16, 16)
CASES = [
    Case(
        "Unique 'odd': the parser does not know it",
        [helper.make_node("Unique", ["x"], ["y"], name="odd", axis=0)],
        y=("N", 8),
    ),
    *(
        Case(f"Cast 'cast': there is no {name}", through(getattr(TensorProto, name)))
        for name in ("UINT8", "INT16", "UINT16", "UINT32", "UINT64", "FLOAT8E4M3FN", "FLOAT8E5M2")
    ),
    Case(
        "weights 'w' are INT16",
        [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "f"], ["y"])],
        weights=[constant("w", range(8), TensorProto.INT16)],
    ),
    Case(
        "'wide' has 9 dimensions, and 8 are the most",
        [
            helper.make_node("Reshape", ["x", "to"], ["wide"]),
            helper.make_node("Relu", ["wide"], ["relu"]),
            helper.make_node("Reshape", ["relu", "back"], ["y"]),
        ],
        weights=[
            constant("to", [-1, 2, 2, 2, 1, 1, 1, 1, 1], TensorProto.INT64),
            constant("back", [-1, 8], TensorProto.INT64),
        ],
    ),
    Case(
        "MaxPool 'y i': it gives no indices",
        [helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], strides=[2, 2])],
        x=PICTURE,
        y=("B", 4, 4, 4),
        more="i",
    ),
    Case(
        "Resize 'y': it does not antialias",
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", antialias=1)],
        x=PICTURE,
        y=LARGE,
        weights=[SCALES],
    ),
    Case(
        "Resize 'y': it has no coordinates 'tf_crop_and_resize'",
        [
            helper.make_node(
                "Resize", ["x", "roi", "scales"], ["y"], coordinate_transformation_mode="tf_crop_and_resize"
            )
        ],
        x=PICTURE,
        y=LARGE,
        weights=[SCALES, constant("roi", [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])],
    ),
    Case(
        "ScatterND 'y': it does not reduce ('add')",
        [helper.make_node("ScatterND", ["x", "at", "u"], ["y"], reduction="add")],
        weights=[constant("at", [[0]], TensorProto.INT64), constant("u", np.ones((1, 8), np.float32))],
    ),
    Case(
        "ScatterElements 'y': it does not reduce ('max')",
        [helper.make_node("ScatterElements", ["x", "at", "u"], ["y"], axis=0, reduction="max")],
        weights=[constant("at", np.zeros((1, 8)), TensorProto.INT64), constant("u", np.ones((1, 8), np.float32))],
    ),
    Case(
        "Conv 'y': it convolves over at most 3 dimensions",
        [helper.make_node("Conv", ["x", "k"], ["y"], kernel_shape=[1, 1, 1, 1])],
        x=("B", 2, 3, 3, 3, 3),
        weights=[constant("k", np.ones((2, 2, 1, 1, 1, 1), np.float32))],
    ),
    Case(
        "NonZero 'at': TensorRT-RTX has no kernel for it",
        [helper.make_node("NonZero", ["x"], ["at"]), helper.make_node("Cast", ["at"], ["y"], to=TensorProto.FLOAT)],
        y=(2, "N"),
    ),
    Case(
        "RoiAlign 'y': TensorRT-RTX has no kernel for it",
        [helper.make_node("RoiAlign", ["x", "rois", "of"], ["y"], output_height=2, output_width=2)],
        x=PICTURE,
        y=(1, 4, 2, 2),
        weights=[constant("rois", [[0.0, 0.0, 4.0, 4.0]]), constant("of", [0], TensorProto.INT64)],
    ),
    Case(
        "NonMaxSuppression 'at': TensorRT-RTX has no kernel for it",
        [
            helper.make_node("NonMaxSuppression", ["x", "scores"], ["at"]),
            helper.make_node("Cast", ["at"], ["y"], to=TensorProto.FLOAT),
        ],
        x=(1, 8, 4),
        y=("N", 3),
        weights=[constant("scores", np.ones((1, 1, 8), np.float32))],
    ),
    *(
        Case(f"{node.op_type} 'y': no product of float32", [node], weights=[SQUARE], target=75)
        for node in (
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Gemm", ["x", "w"], ["y"]),
            helper.make_node("Einsum", ["x", "w"], ["y"], equation="bi,ij->bj"),
        )
    ),
]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_it_is_said_before_anything_is_compiled(case: Case) -> None:
    with pytest.raises(EngineUnfit) as refusal:
        lint.lint_for("case", case.graph, SHIPPED.find("tensorrt_rtx"), f"sm{case.target}")
    assert case.says in str(refusal.value)
    assert str(refusal.value).startswith(f"case: tensorrt_rtx does not take the graph for sm{case.target}: ")


@rtx
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_compiler_refuses_it_too(case: Case) -> None:
    onnx.checker.check_model(case.graph, full_check=True)
    with pytest.raises(EngineUnfit, match="tensorrt_rtx refuses the graph"):
        compile_in_child(Request("tensorrt_rtx", case.component, case.target), case.graph, lambda _: None)


@rtx
def test_the_operators_that_the_parser_does_not_know_are_those() -> None:
    code = KNOWN.replace("OPSET", str(OPSET))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unknown = set(json.loads(done.stdout))
    assert unknown - lint.RANDOM - lint.CONTROL_FLOW == refusals.NO_PARSER


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("component", models.family("sprite").components)
def test_nothing_is_said_of_the_graphs_that_ship(runtime: str, component: str) -> None:
    graph = (models.find("sprite").prebuilt / f"{component}.onnx").read_bytes()
    for device in ("sm80", "sm89", "sm90", "sm120"):
        lint.lint_for(component, graph, SHIPPED.find(runtime), device)


def test_what_is_missing_in_rtx_alone_is_not_said_of_tensorrt() -> None:
    [case] = [case for case in CASES if case.says.startswith("NonZero")]
    lint.lint_for("case", case.graph, SHIPPED.find("tensorrt"), "sm90")


def test_a_runtime_that_knows_of_nothing_refuses_nothing() -> None:
    for case in CASES:
        lint.lint_for("case", case.graph, SHIPPED.find("onnxruntime"), "cpu")
