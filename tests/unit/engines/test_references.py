"""Wherever a graph names a place outside itself, it is seen before a runtime sees it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("onnx_ir", reason="a build needs longtake[build]")

from engines import references
from engines.building import lint
from engines.errors import EngineCorrupt, EngineUnfit
from engines.runtimes.registry import SHIPPED
from engines.weights import Weights, WeightsFile, WeightsFolder
from tests.beside_engines import MIXER, lower, mixer, moved_out

FILE = WeightsFile("a" * 64, 1 << 20)


def outside(location: str = FILE.sha256, **said: str) -> TensorProto:
    """A tensor of 4 numbers in a file."""
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "16", **said}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def holding(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor]))


def in_attribute(tensor: TensorProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "g", [], []))


def in_branch(tensor: TensorProto) -> onnx.ModelProto:
    branch = helper.make_graph([], "b", [], [], [tensor])
    return helper.make_model(helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=branch)], "g", [], []))


def in_function(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    model.functions.add(name="f").node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    return model


def in_sparse(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)
    return model


def in_training(tensor: TensorProto) -> onnx.ModelProto:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    model.training_info.add().algorithm.initializer.append(tensor)
    return model


def without_the_mark(tensor: TensorProto) -> onnx.ModelProto:
    tensor.ClearField("data_location")
    return holding(tensor)


def without_a_place(tensor: TensorProto) -> onnx.ModelProto:
    tensor.ClearField("external_data")
    return holding(tensor)


HOLDERS = (holding, in_attribute, in_branch, in_function, in_sparse, in_training, without_the_mark, without_a_place)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_tensor_outside_is_seen_wherever_it_stands(holder: Callable[[TensorProto], onnx.ModelProto]) -> None:
    graph = holder(outside()).SerializeToString()
    assert [tensor.name for tensor in references.outside(graph)] == ["far"]
    assert len(list(references.problems(graph, ()))) == 1


def test_every_message_of_onnx_that_leads_to_a_tensor_is_known() -> None:
    messages, ahead = {}, [onnx.ModelProto.DESCRIPTOR]
    while ahead:
        message = ahead.pop()
        if message.name not in messages:
            messages[message.name] = message
            ahead += [field.message_type for field in message.fields if field.message_type is not None]
    leading = {references.TENSOR}
    while (
        more := {
            name
            for name, message in messages.items()
            if any(field.message_type is not None and field.message_type.name in leading for field in message.fields)
        }
        - leading
    ):
        leading |= more
    assert {
        name: {
            field.number: field.message_type.name
            for field in messages[name].fields
            if field.message_type is not None and field.message_type.name in leading
        }
        for name in leading - {references.TENSOR}
    } == references.PARTS
    numbers = {field.name: field.number for field in TensorProto.DESCRIPTOR.fields}
    assert [numbers[name] for name in ("dims", "data_type", "name", "external_data", "data_location")] == [
        references._DIMS,
        references._TYPE,
        references._NAME,
        references._EXTERNAL,
        references._LOCATION,
    ]


WRONG = {
    "another file": outside("b" * 64),
    "a way out": outside("../" * 9 + "etc/passwd"),
    "an absolute path": outside("/etc/passwd"),
    "a folder within": outside(f"x/../{FILE.sha256}"),
    "memory of the process": outside("*/_ORT_MEM_ADDR_/*"),
    "beyond the end": outside(offset=str((1 << 20) - 15)),
    "far beyond": outside(offset=str(2**64 - 16)),
    "before the beginning": outside(offset="-16"),
    "no number": outside(offset="0x10"),
    "another length": outside(length="12"),
    "a negative length": outside(length="-1"),
    "one more key": outside(checksum="1"),
}


@pytest.mark.parametrize("tensor", [pytest.param(tensor, id=name) for name, tensor in WRONG.items()])
def test_a_place_that_is_not_within_its_file_is_refused(tensor: TensorProto) -> None:
    graph = holding(tensor).SerializeToString()
    assert len([problem for problem in references.problems(graph, (FILE,)) if "'far'" in problem]) == 1
    assert list(references.problems(holding(outside()).SerializeToString(), (FILE,))) == []


def test_said_twice_is_refused_for_readers_differ_in_whom_they_believe() -> None:
    tensor = outside()
    tensor.external_data.add(key="location", value="../x")
    assert list(references.problems(holding(tensor).SerializeToString(), (FILE,)))


def test_a_file_that_no_weights_lie_in_is_of_no_use() -> None:
    other = WeightsFile("b" * 64, 1)
    assert any(
        "no use" in found for found in references.problems(holding(outside()).SerializeToString(), (FILE, other))
    )


def test_whatever_bytes_a_graph_has_the_answer_is_a_sentence() -> None:
    graph, chance = mixer().SerializeToString(), random.Random(7)
    for _ in range(200):
        damaged = bytearray(graph[: chance.randrange(len(graph))])
        for _ in range(chance.randrange(4)):
            if damaged:
                damaged[chance.randrange(min(200, len(damaged)))] ^= 1 << chance.randrange(8)
        assert all(problem.isprintable() for problem in references.problems(bytes(damaged), ()))
    deep = b""
    for _ in range(3000):  # a graph of a node of an attribute that is a graph
        for number in (6, 5, 1):
            deep = bytes([number << 3 | 2]) + varint(len(deep)) + deep
    assert list(references.problems(b"\x3a" + varint(len(deep)) + deep, ()))


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


@pytest.mark.parametrize("location", ["../secret", "secret", "b" * 64])
def test_neither_builder_nor_runtime_sees_a_graph_that_leads_elsewhere(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower(monkeypatch)
    folder = WeightsFolder(tmp_path / "weights")
    graph, files = moved_out(folder)
    model = onnx.load_from_string(graph)
    for pair in model.graph.initializer[0].external_data:
        if pair.key == "location":
            (folder.path / location).write_bytes(folder.file(files[0]).read_bytes())
            pair.value = location
    leading = model.SerializeToString()
    with pytest.raises(EngineUnfit, match="is no file of this engine"):
        lint.lint("mixer", leading, files)
    # The file is there, and would do: nothing but the check stands in the way.
    with pytest.raises(EngineCorrupt, match="is no file of this engine"):
        SHIPPED.find("onnxruntime").runner(MIXER, leading, threads=1, weights=Weights(folder.path, files))
    with pytest.raises(EngineCorrupt):
        SHIPPED.find("onnxruntime").runner(MIXER, graph, threads=1)
