"""A graph that some runtime would refuse is not published."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from engines import models
from engines.building import lint
from engines.errors import EngineUnfit

Graph = Callable[..., bytes]


def test_a_plain_graph_passes(make_graph: Graph) -> None:
    lint.lint("doubler", make_graph())


@pytest.mark.parametrize("component", models.family("sprite").components)
def test_every_shipped_engine_passes(component: str) -> None:
    lint.lint(component, (models.find("sprite").prebuilt / f"{component}.onnx").read_bytes())


def test_the_shipped_engines_tell_nothing_of_the_machine_that_built_them() -> None:
    for path in models.find("sprite").prebuilt.glob("*.onnx"):
        data = path.read_bytes()
        assert b"site-packages" not in data
        assert b".py" not in data


def test_the_shipped_engines_are_at_most_twenty_megabytes() -> None:
    assert sum(path.stat().st_size for path in models.find("sprite").prebuilt.iterdir()) <= 20_000_000


def test_another_opset_is_refused(make_graph: Graph) -> None:
    with pytest.raises(EngineUnfit, match="doubler: opset 21; 20"):
        lint.lint("doubler", make_graph(opset=21))


def test_control_flow_is_refused_by_the_name_of_its_node(make_graph: Graph) -> None:
    model = onnx.load_from_string(make_graph())
    branch = helper.make_graph(
        [helper.make_node("Identity", ["factor"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [])],
    )
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["chosen"], name="choice", then_branch=branch, else_branch=branch)
    )
    assert any("control flow (If 'choice')" in problem for problem in lint.problems(model, 100))


def test_noise_casts_types_domains_and_size_are_refused(make_graph: Graph) -> None:
    model = onnx.load_from_string(make_graph())
    model.graph.node.append(helper.make_node("RandomNormal", [], ["n"], shape=[1]))
    model.graph.node.append(helper.make_node("Cast", ["x"], ["c"], to=TensorProto.DOUBLE))
    model.graph.node.append(helper.make_node("Gelu", ["x"], ["g"], domain="com.example"))
    model.graph.initializer.append(helper.make_tensor("half", TensorProto.FLOAT16, [1], [1.0]))
    found = "; ".join(lint.problems(model, 2**31))
    for part in ("noise from inside", "a cast to DOUBLE", "com.example::Gelu", "'half' are FLOAT16", "2147.5 MB"):
        assert part in found
