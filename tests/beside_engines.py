"""Small engines with their weights beside them, made as the builder makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines import key as keys
from engines.building import beside
from engines.manifest import EngineEntry, Manifest
from engines.runtimes.registry import SHIPPED
from engines.spec import ComponentSpec, EngineSpec, Span, TensorSpec
from engines.store import Built
from engines.trust import TrustedKeys, own_key
from engines.weights import Weights, WeightsFile, WeightsFolder
from serving.engine_objects import EngineObjects
from serving.store.base import Store

WIDTH = 130
COUNT = 3
MIXER = ComponentSpec(
    name="mixer",
    inputs=(TensorSpec("x", "float32", ("B", WIDTH)),),
    outputs=(TensorSpec("y", "float32", ("B", WIDTH)),),
    spans={"B": Span(1, 2, 4)},
)
"""Its graph multiplies by one matrix after the other."""
X = np.linspace(-1, 1, 2 * WIDTH, dtype=np.float32).reshape(2, WIDTH)


def lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small weights count as large ones; two matrices come into a file."""
    monkeypatch.setattr(beside, "BESIDE_FROM", 100_000)
    monkeypatch.setattr(beside, "LARGE_BYTES", 10_000)
    monkeypatch.setattr(beside, "FILE_BYTES", 150_000)


def mixer(seed: int = 0) -> onnx.ModelProto:
    """The graph of MIXER, its weights inside."""
    random = np.random.default_rng(seed)
    matrices = [random.standard_normal((WIDTH, WIDTH), dtype=np.float32) / 10 for _ in range(COUNT)]
    nodes, last = [], "x"
    for at in range(COUNT):
        result = "y" if at == COUNT - 1 else f"h{at}"
        nodes.append(helper.make_node("MatMul", [last, f"w{at}"], [result]))
        last = result
    graph = helper.make_graph(
        nodes,
        "mixer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", WIDTH])],
        [numpy_helper.from_array(matrix, f"w{at}") for at, matrix in enumerate(matrices)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def moved_out(folder: WeightsFolder, seed: int = 0) -> tuple[bytes, tuple[WeightsFile, ...]]:
    """The same graph, its weights in this folder."""
    model = ir.serde.deserialize_model(mixer(seed))
    files = beside.move_out(model, folder)
    return ir.serde.serialize_model(model).SerializeToString(deterministic=True), files


def manifest_of(graph: bytes, files: tuple[WeightsFile, ...]) -> Manifest:
    """Of the mixer alone."""
    spec = EngineSpec("tiny-1", "w1", MIXER, "onnxruntime", "float32", "small", "cpu")
    digest = keys.digest_of(graph)
    entry = EngineEntry(
        key="",
        spec=spec,
        graph_digest=digest,
        runtime_version="onnx-opset20",
        sha256=digest,
        size=len(graph),
        parity=0.0,
        weights=files,
    )
    key = keys.engine_key(
        spec, graph_digest=digest, runtime_version="onnx-opset20", weights=[file.sha256 for file in files]
    )
    versions = ("1.31", "2")
    return Manifest("tiny-1", "w1", (replace(entry, key=key),), versions, {"onnxruntime": "1.31.1"}, 0.0, ())


def machine(store: Store, home: Path, signer: Path | None = None) -> Built:
    """The engines of a store as a machine sees it, which trusts itself or the signer, and has a folder of its own."""
    trusted = TrustedKeys((signer or home) / "trusted")
    key = own_key(home / "key.pem", trusted) if signer is None else None
    return Built(EngineObjects(store), trusted, key=key, weights=WeightsFolder(home / "weights"))


async def publish(built: Built, seed: int = 0) -> Manifest:
    """Build the mixer and publish it."""
    assert built.weights_folder is not None
    graph, files = moved_out(built.weights_folder, seed)
    manifest = manifest_of(graph, files)
    await built.publish(manifest, {"mixer": graph})
    return manifest


async def answer(built: Built) -> NDArray[np.generic]:
    """Load the mixer as a stage does, and run it."""
    manifest = await built.manifest("tiny-1", "w1")
    assert manifest is not None
    entry = manifest.entry("mixer")
    return run(await built.read(entry), await built.weights(entry))


def run(graph: bytes, weights: Weights | None = None) -> NDArray[np.generic]:
    """What the mixer makes of X."""
    with SHIPPED.find("onnxruntime").runner(MIXER, graph, threads=1, weights=weights) as runner:
        return runner.infer({"x": X})["y"]
