"""Export gives the same bytes each time, with nothing of this machine in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    graph, face = export("scale", _spec())  # type: ignore[arg-type]
    again, _ = export("scale", _spec())  # type: ignore[arg-type]
    assert graph == again
    assert face == ComponentSpec(
        "scale",
        (TensorSpec("x", "float32", ("B", 3)),),
        (TensorSpec("y", "float32", ("B", 3)),),
        {"B": Span(1, 2, 8)},
    )
    lint("scale", graph)
    assert b".py" not in graph
