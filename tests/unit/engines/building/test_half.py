"""Half by export: weights and products in half, islands and faces in float32, and the module itself untouched."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from engines.errors import EngineUnfit
from engines.families.graph import GraphSpec

if TYPE_CHECKING:
    import torch

    from engines.building.export import Exported
else:
    torch = pytest.importorskip("torch", reason="export needs longtake[build]")
HALF = onnx.TensorProto.FLOAT16
HALVES = {"float16": HALF, "bfloat16": onnx.TensorProto.BFLOAT16}


class Layer(torch.nn.Module):
    """One of each kind: attention whose softmax would be in half, a convolution, a norm, and how a time is embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.time = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.SiLU())
        self.norm = torch.nn.LayerNorm(16)
        self.qkv = torch.nn.Linear(16, 48)
        self.out = torch.nn.Linear(16, 16)
        self.paint = torch.nn.Conv1d(16, 16, 1)
        self.gain = torch.nn.Parameter(torch.full((16,), 0.5))

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        steep = time[:, None] * torch.linspace(0, 6, 8).exp()
        h = self.norm(x) + self.time(steep.sin())[:, None]
        query, key, value = self.qkv(h)[:, None].chunk(3, -1)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)[:, 0]
        result: torch.Tensor = x + self.gain * self.paint(self.out(mixed).mT).mT
        return result


def spec() -> GraphSpec:
    torch.manual_seed(0)
    batch = {0: torch.export.Dim("B", min=1, max=8)}
    return GraphSpec(
        Layer().eval(), (torch.randn(2, 5, 16), torch.rand(2)), ("x", "time"), ("y",), (batch, batch), ("time",)
    )


@cache
def exported(precision: str) -> Exported:
    """Once for all tests."""
    from engines.building.export import export

    return export("layer", spec(), precision=precision)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_products_are_in_half_and_islands_and_faces_in_float32(precision: str) -> None:
    from engines.building.half import ISLANDS
    from engines.building.lint import lint

    data, face, _ = exported(precision)
    assert {tensor.dtype for tensor in (*face.inputs, *face.outputs)} == {"float32"}
    lint("layer", data, precision=precision)
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data))
    values = (*model.graph.value_info, *model.graph.input)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    inputs = [(node.op_type, types[node.input[0]]) for node in model.graph.node]
    products = [kind for name, kind in inputs if name in ("MatMul", "Gemm", "Conv")]
    # Queries, scores, what is mixed, what goes out and what is painted; and the time's own.
    assert sorted(products) == sorted([HALVES[precision]] * 5 + [onnx.TensorProto.FLOAT])
    islands = [(name, kind) for name, kind in inputs if name in ISLANDS]
    assert {name for name, _ in islands} >= {"Softmax", "LayerNormalization"}
    assert {kind for _, kind in islands} == {onnx.TensorProto.FLOAT}


def test_a_graph_in_float16_computes_nearly_the_same_in_onnx_runtime() -> None:
    from engines.runtimes.onnxruntime import OnnxRuntimeRunner

    graph, (data, face, _) = spec(), exported("float16")
    x, time = (
        np.random.default_rng(1).standard_normal((3, 5, 16)).astype(np.float32),
        np.array([0.1, 0.5, 0.9], np.float32),
    )
    with torch.no_grad(), OnnxRuntimeRunner(face, data, threads=1) as runner:
        wanted = graph.module(torch.from_numpy(x), torch.from_numpy(time)).numpy()
        apart = np.abs(runner.infer({"x": x, "time": time})["y"] - wanted).max()
    assert 1e-6 < apart < 3e-3


def test_what_multiplies_in_half_is_told_from_what_must_not() -> None:
    from engines.building.lint import lint

    data, *_ = exported("float16")
    with pytest.raises(EngineUnfit, match=r"a cast to FLOAT16.*weights .* are FLOAT16; float32 alone"):
        lint("layer", data)
    with pytest.raises(EngineUnfit, match="are FLOAT16; float32 and bfloat16 alone"):
        lint("layer", data, precision="bfloat16")
    model = onnx.load_from_string(data)
    half = next(node.output[0] for node in model.graph.node if node.op_type == "Cast" and node.attribute[0].i == HALF)
    bare = onnx.helper.make_node("Softmax", [half], ["steep"], name="steep")
    model.graph.node.append(bare)
    with pytest.raises(EngineUnfit, match="Softmax 'steep' computes in float16: it is for float32"):
        lint("layer", model.SerializeToString(), precision="float16")


def test_the_module_itself_stays_as_it_is_and_shares_what_stays_in_float32() -> None:
    from engines.building.half import halved

    graph = spec()
    assert halved(graph, "float32") is graph
    half = halved(graph, "bfloat16").module
    assert {value.dtype for value in graph.module.parameters()} == {torch.float32}
    assert half.get_parameter("qkv.weight").dtype == torch.bfloat16
    for kept in ("gain", "norm.weight", "time.0.weight"):
        assert half.get_parameter(kept) is graph.module.get_parameter(kept)
