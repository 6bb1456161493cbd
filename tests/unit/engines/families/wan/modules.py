"""The modules of a tiny checkpoint as its engines: what an engine must compute, without exporting it."""

from __future__ import annotations

from engines.families.buildable import BuildableFamily
from engines.families.graph import GraphSpec
from engines.session import Session
from engines.spec import ComponentSpec, TensorSpec


def session_of(family: BuildableFamily) -> Session:
    """To be closed."""
    from engines.runtimes.torch import TorchRunner

    graphs = family.graphs(family.weights)
    runners = {name: TorchRunner(_face(name, graph), graph.module) for name, graph in graphs.items()}
    return Session(family, runners, digest="d")


def _face(name: str, graph: GraphSpec) -> ComponentSpec:
    """Names, types and ranks; the sizes are for an exporter to find."""

    def spec(called: str, rank: int, *, whole: bool = False) -> TensorSpec:
        return TensorSpec(called, "int64" if whole else "float32", (None,) * rank)

    inputs = zip(graph.input_names, graph.example_inputs, strict=True)
    return ComponentSpec(
        name=name,
        inputs=tuple(spec(called, value.ndim, whole=not value.is_floating_point()) for called, value in inputs),
        outputs=tuple(spec(called, 5) for called in graph.output_names),
        spans={},
    )
