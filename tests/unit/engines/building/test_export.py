"""Export gives the same bytes each time, with nothing of this machine in them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch", reason="export needs longtake[build]")


class Scale(torch.nn.Module):
    """y = 2 x, with a branch on a value if asked for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1


def _spec() -> object:
    from engines.families.graph import GraphSpec

    batch = torch.export.Dim("B", min=1, max=8)
    return GraphSpec(Scale().eval(), (torch.randn(2, 3),), ("x",), ("y",), ({0: batch},))


def test_the_same_module_gives_the_same_bytes_and_its_face() -> None:
    from engines.building.export import export
    from engines.building.lint import lint
    from engines.spec import ComponentSpec, Span, TensorSpec

    graph, face, beside = export("scale", _spec())  # type: ignore[arg-type]
    again, *_ = export("scale", _spec())  # type: ignore[arg-type]
    assert graph == again
    assert beside == ()
    assert face == ComponentSpec(
        "scale",
        (TensorSpec("x", "float32", ("B", 3)),),
        (TensorSpec("y", "float32", ("B", 3)),),
        {"B": Span(1, 2, 8)},
    )
    lint("scale", graph)
    assert b".py" not in graph


def test_what_the_optimizer_leaves_as_it_is_is_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be told between the lines of a build's progress."""
    from engines.building.export import export

    optimizer, made = logging.getLogger("onnxscript.optimizer._constant_folding"), torch.onnx.export

    def exported(*given: Any, **named: Any) -> Any:
        optimizer.warning("Skipping constant folding")
        return made(*given, **named)

    monkeypatch.setattr(torch.onnx, "export", exported)
    logging.getLogger("onnxscript").setLevel(logging.NOTSET)
    export("scale", _spec())  # type: ignore[arg-type]
    assert not [record for record in caplog.records if record.name.startswith("onnxscript")]


def test_many_weights_go_beside_the_graph_which_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.building import beside
    from engines.building.export import export
    from engines.building.lint import lint
    from engines.families.graph import GraphSpec
    from engines.runtimes.registry import SHIPPED
    from engines.weights import Weights, WeightsFolder

    monkeypatch.setattr(beside, "BESIDE_FROM", 1 << 20)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(300, 500), torch.nn.GELU(), torch.nn.Linear(500, 300)).eval()
    shapes = ({0: torch.export.Dim("B", min=1, max=8)},)
    spec = GraphSpec(module, (torch.randn(2, 300),), ("x",), ("y",), shapes)
    inside, face, none = export("two", spec)
    folder = WeightsFolder(tmp_path)
    graph, same, files = export("two", spec, folder)
    assert (same, none) == (face, ())
    assert len(graph) < 10_000
    assert len(inside) > 1_000_000
    assert export("two", spec, WeightsFolder(tmp_path / "again")) == (graph, face, files)
    lint("two", graph, files)
    x = np.linspace(-1, 1, 900, dtype=np.float32).reshape(3, 300)
    runtime = SHIPPED.find("onnxruntime")
    with (
        runtime.runner(face, inside, threads=1) as wanted,
        runtime.runner(face, graph, threads=1, weights=Weights(tmp_path, files)) as found,
    ):
        assert np.array_equal(wanted.infer({"x": x})["y"], found.infer({"x": x})["y"])


def test_more_weights_than_a_graph_has_room_for_are_told_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from engines.building import export
    from engines.errors import EngineUnfit

    monkeypatch.setattr(export, "MAX_BYTES", 3)
    with pytest.raises(EngineUnfit, match=r"weights inside the graph.*takes weights beside the graph"):
        export.export("scale", _spec())  # type: ignore[arg-type]
