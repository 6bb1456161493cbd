"""Engines with weights beside them go through a store, and compute what they do with their weights inside."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnx_ir", reason="a build needs longtake[build]")

import onnx_ir as ir

from engines import objects as layout
from engines import references
from engines.building import beside, lint
from engines.errors import EngineCorrupt, EngineNotBuilt, EngineUnfit
from engines.manifest import Manifest
from engines.store import Built, Prebuilt
from engines.weights import WeightsFile, WeightsFolder
from serving.store.base import Store
from serving.store.directory import DirectoryStore
from tests.beside_engines import (
    COUNT,
    WIDTH,
    answer,
    lower,
    machine,
    manifest_of,
    mixer,
    moved_out,
    publish,
    run,
)


@pytest.fixture(autouse=True)
def lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    lower(monkeypatch)


@pytest.fixture
def builder(store: DirectoryStore, tmp_path: Path) -> Built:
    return machine(store, tmp_path / "builder")


@pytest.fixture
def server(store: DirectoryStore, tmp_path: Path) -> Built:
    """Another machine, which trusts the builder."""
    return machine(store, tmp_path / "server", tmp_path / "builder")


def folder_of(built: Built) -> WeightsFolder:
    assert built.weights_folder is not None
    return built.weights_folder


@pytest.mark.parametrize("number", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_weights_of_each_precision_lie_as_long_as_their_shapes_say(tmp_path: Path, number: int) -> None:
    weights = numpy_helper.to_array(helper.make_tensor("w", number, [256, 256], [0.5] * 65536))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", number, ["B", 256])],
        [helper.make_tensor_value_info("y", number, ["B", 256])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = ir.serde.deserialize_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
    files = beside.move_out(model, WeightsFolder(tmp_path))
    assert [file.size for file in files] == [weights.nbytes]
    assert list(references.problems(ir.serde.serialize_model(model).SerializeToString(), files)) == []


async def replaced(store: Store, file: WeightsFile, data: bytes) -> None:
    await store.delete(layout.blob_key(file.sha256))
    assert await store.put_if_absent(layout.blob_key(file.sha256), data)


def test_another_machine_loads_what_was_built_and_gets_the_same_numbers(builder: Built, server: Built) -> None:
    manifest = asyncio.run(publish(builder))
    assert len(manifest.engines[0].weights) == 2
    assert manifest.engines[0].size < 2_000
    assert manifest.engines[0].bytes_in_all > COUNT * WIDTH * WIDTH * 4
    assert np.array_equal(asyncio.run(answer(server)), run(mixer().SerializeToString()))
    assert sorted(path.name for path in folder_of(server).path.iterdir()) == sorted(
        file.sha256 for file in manifest.engines[0].weights
    )


def test_the_same_weights_give_the_same_files_and_few_weights_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, files = moved_out(WeightsFolder(tmp_path / "a"))
    assert (graph, files) == moved_out(WeightsFolder(tmp_path / "b"))
    lint.lint("mixer", graph, files)
    begins = [{pair.key: pair.value for pair in tensor.external_data}["offset"] for tensor in tensors(graph)]
    assert begins == ["0", str(-(-WIDTH * WIDTH * 4 // beside.ALIGNED) * beside.ALIGNED), "0"]
    monkeypatch.setattr(beside, "BESIDE_FROM", 64 << 20)
    graph, files = moved_out(WeightsFolder(tmp_path / "c"))
    assert files == ()
    assert not (tmp_path / "c").exists()
    lint.lint("mixer", graph)


def tensors(graph: bytes) -> list[onnx.TensorProto]:
    return list(onnx.load_from_string(graph).graph.initializer)


def test_its_key_and_what_is_signed_cover_the_weights(tmp_path: Path) -> None:
    graph, files = moved_out(WeightsFolder(tmp_path))
    manifest = manifest_of(graph, files)
    data = manifest.to_json()
    assert json.loads(data)["format"] == 2  # a version that knows of no weights beside engines refuses it
    assert Manifest.from_json(data, where="here") == manifest
    for other in (
        data.replace(files[0].sha256.encode(), b"0" * 64),
        json.dumps({**json.loads(data), "format": 1}).encode(),
    ):
        with pytest.raises(EngineCorrupt, match="the key of mixer is not that of its spec"):
            Manifest.from_json(other, where="here")
    assert manifest.digest != manifest_of(graph, files[:1]).digest


@pytest.mark.parametrize("sha256", ["../../../etc/passwd", "", "a" * 63, "A" * 64, "/etc/passwd"])
def test_weights_are_named_by_a_digest_whoever_signed_it(tmp_path: Path, sha256: str) -> None:
    graph, files = moved_out(WeightsFolder(tmp_path))
    with pytest.raises(EngineCorrupt):
        Manifest.from_json(manifest_of(graph, (replace(files[0], sha256=sha256),)).to_json(), where="here")


@pytest.mark.parametrize("junk", [None, True, -1, 2**80, "", "a" * 64, [], [1], {}, "\x1b[2J"])
def test_whatever_a_manifest_says_of_weights_it_is_read_or_refused_in_one_line(tmp_path: Path, junk: object) -> None:
    graph, files = moved_out(WeightsFolder(tmp_path))
    value = json.loads(manifest_of(graph, files).to_json())
    good = value["engines"][0]["weights"]
    for said in (junk, [junk], [{**good[0], "sha256": junk}, good[1]], [{**good[0], "size": junk}, good[1]]):
        value["engines"][0]["weights"] = said
        data = json.dumps(value).encode()
        if said == [{**good[0], "size": 2**80}, good[1]]:
            Manifest.from_json(data, where="here")  # no file has so many bytes, as a load will find
        else:
            with pytest.raises(EngineCorrupt) as refused:
                Manifest.from_json(data, where="here")
            assert str(refused.value).isprintable()


@pytest.mark.parametrize("harm", ["a byte is flipped", "it is cut off", "it is longer", "it is gone"])
def test_weights_that_are_not_those_that_were_signed_are_not_loaded(
    harm: str, store: DirectoryStore, builder: Built, server: Built
) -> None:
    file = asyncio.run(publish(builder)).engines[0].weights[1]
    good = folder_of(builder).file(file).read_bytes()
    flipped = bytes([*good[:-1], good[-1] ^ 1])
    if harm == "it is gone":
        asyncio.run(store.delete(layout.blob_key(file.sha256)))
    else:
        bad = {"a byte is flipped": flipped, "it is cut off": good[:-1], "it is longer": good + b"\0"}[harm]
        asyncio.run(replaced(store, file, bad))
    with pytest.raises(EngineNotBuilt if harm == "it is gone" else EngineCorrupt, match="longtake engines"):
        asyncio.run(answer(server))
    assert not folder_of(server).file(file).exists()
    assert not list(folder_of(server).path.glob("*.partial"))
    asyncio.run(replaced(store, file, good))
    asyncio.run(answer(server))


def test_what_was_damaged_on_this_machine_is_fetched_again(builder: Built, server: Built) -> None:
    file = asyncio.run(publish(builder)).engines[0].weights[0]
    wanted = asyncio.run(answer(server))
    here = folder_of(server).file(file)
    data = bytearray(here.read_bytes())
    data[7] ^= 1
    here.write_bytes(data)
    assert np.array_equal(asyncio.run(answer(server)), wanted)
    here.write_bytes(data[:100])
    assert np.array_equal(asyncio.run(answer(server)), wanted)


def test_several_replicas_of_a_machine_fetch_once(
    builder: Built, server: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = asyncio.run(publish(builder)).engines[0].weights
    asked: list[tuple[str, int]] = []
    get_range = server.objects.get_range

    async def counted(key: str, start: int, length: int) -> bytes | None:
        await asyncio.sleep(0.01)
        asked.append((key, start))
        return await get_range(key, start, length)

    monkeypatch.setattr(server.objects, "get_range", counted)

    async def replicas() -> None:
        answers = await asyncio.gather(*(answer(server) for _ in range(4)))
        assert all(np.array_equal(answers[0], other) for other in answers)

    asyncio.run(replicas())
    for file in files:
        assert asked.count((layout.blob_key(file.sha256), 0)) == 1


def test_a_look_finds_what_is_not_whole_and_fetches_nothing(builder: Built, server: Built, store: Store) -> None:
    entry = asyncio.run(publish(builder)).engines[0]
    asyncio.run(server.look(entry))
    asyncio.run(replaced(store, entry.weights[0], b"cut off"))
    with pytest.raises(EngineCorrupt, match="7 bytes, and the manifest names weights of"):
        asyncio.run(server.look(entry))
    asyncio.run(store.delete(layout.blob_key(entry.weights[0].sha256)))
    with pytest.raises(EngineNotBuilt, match="no weights of engine 'mixer'"):
        asyncio.run(server.look(entry))
    assert not folder_of(server).path.exists()


def test_what_was_not_built_here_is_not_published(builder: Built) -> None:
    graph, files = moved_out(folder_of(builder))
    folder_of(builder).file(files[0]).write_bytes(b"others")
    with pytest.raises(EngineCorrupt, match="build the engines again"):
        asyncio.run(builder.publish(manifest_of(graph, files), {"mixer": graph}))
    assert asyncio.run(builder.sets()) == []


def test_a_package_has_its_weights_inside(tmp_path: Path) -> None:
    graph, files = moved_out(WeightsFolder(tmp_path / "weights"))
    with pytest.raises(EngineUnfit, match="into a store"):
        Prebuilt(tmp_path / "prebuilt").publish(manifest_of(graph, files), {"mixer": graph})
