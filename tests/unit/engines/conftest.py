"""Small real engines, and the shipped ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engines import key as keys
from engines.manifest import EngineEntry, Manifest
from engines.session import Session, load_session
from engines.spec import ComponentSpec, EngineSpec, Span, TensorSpec
from engines.store import Built
from engines.trust import TrustedKeys, own_key
from serving.engine_objects import EngineObjects
from serving.store.directory import DirectoryStore

DOUBLER = ComponentSpec(
    name="doubler",
    inputs=(TensorSpec("x", "float32", ("B", 3)), TensorSpec("i", "int64", ("B",))),
    outputs=(TensorSpec("y", "float32", ("B", 3)),),
    spans={"B": Span(1, 2, 4)},
)
"""Its graph computes y = 2 x + i."""


def doubler_graph(*, opset: int = 20, factor: float = 2.0) -> bytes:
    """The graph of DOUBLER."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["doubled"]),
        helper.make_node("Cast", ["i"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["number", "axis"], ["column"]),
        helper.make_node("Add", ["doubled", "column"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "doubler",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3]),
            helper.make_tensor_value_info("i", TensorProto.INT64, ["B"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 3])],
        [
            helper.make_tensor("factor", TensorProto.FLOAT, [], [factor]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.fixture
def doubler() -> ComponentSpec:
    """A component of two inputs."""
    return DOUBLER


@pytest.fixture
def make_graph() -> Callable[..., bytes]:
    """Makes the doubler's graph; `opset` and `factor` may be given."""
    return doubler_graph


@pytest.fixture
def load_model() -> Callable[[bytes], onnx.ModelProto]:
    """Reads a graph's bytes."""
    return onnx.load_from_string


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Makes a manifest of the doubler alone."""
    return _manifest


def _manifest(graph: bytes, *, weights: str = "w1", model: str = "tiny-1") -> Manifest:
    spec = EngineSpec(model, weights, DOUBLER, "onnxruntime", "float32", "small", "cpu")
    digest = keys.digest_of(graph)
    entry = EngineEntry(
        key=keys.engine_key(spec, graph_digest=digest, runtime_version="onnx-opset20"),
        spec=spec,
        graph_digest=digest,
        runtime_version="onnx-opset20",
        sha256=digest,
        size=len(graph),
        parity=0.0,
    )
    return Manifest(model, weights, (entry,), ("1.31", "2"), {"onnxruntime": "1.31.1"}, 0.0, ())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty one."""
    opened = DirectoryStore(tmp_path / "store")
    asyncio.run(opened.open())
    return opened


@pytest.fixture
def built(
    store: DirectoryStore, tmp_path: Path, make_manifest: Callable[..., Manifest], make_graph: Callable[..., bytes]
) -> Built:
    """A set of engines, as the machine sees it that made them."""
    trusted = TrustedKeys(tmp_path / "alice" / "trusted")
    layer = Built(EngineObjects(store), trusted, key=own_key(tmp_path / "alice" / "key.pem", trusted))
    asyncio.run(layer.publish(make_manifest(make_graph()), {"doubler": make_graph()}))
    return layer


@pytest.fixture
def load() -> Callable[[Built], None]:
    """Reads the set as a start of a stage does."""

    async def run(layer: Built) -> None:
        manifest = await layer.manifest("tiny-1", "w1")
        assert manifest is not None
        for entry in manifest.engines:
            await layer.read(entry)

    return lambda layer: asyncio.run(run(layer))


@pytest.fixture(scope="session")
def shipped() -> Iterator[Session]:
    """The engines of the package, on one thread."""
    with asyncio.run(load_session("sprite", threads=1)) as session:
        yield session
