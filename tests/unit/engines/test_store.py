"""Engines come out of the store as they went in, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import EngineCorrupt, EngineNotBuilt, EngineUnfit
from engines.manifest import Manifest
from engines.store import Built, EngineStore, Prebuilt
from engines.trust import TrustedKeys, own_key
from serving.engine_objects import EngineObjects
from serving.store.directory import DirectoryStore

Make = Callable[..., Manifest]
Graph = Callable[..., bytes]


@pytest.fixture
def prebuilt(tmp_path: Path) -> Prebuilt:
    return Prebuilt(tmp_path / "prebuilt")


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "store")
    asyncio.run(store.open())
    return store


@pytest.fixture
def built(objects: DirectoryStore, tmp_path: Path) -> Built:
    return builder(objects, tmp_path / "alice")


def builder(objects: DirectoryStore, home: Path) -> Built:
    """What a machine of its own sees, whose key signs and is trusted there."""
    trusted = TrustedKeys(home / "trusted")
    return Built(EngineObjects(objects), trusted, key=own_key(home / "key.pem", trusted))


def test_prebuilt_engines_are_found_and_read(prebuilt: Prebuilt, make_manifest: Make, make_graph: Graph) -> None:
    manifest = make_manifest(make_graph())
    prebuilt.publish(manifest, {"doubler": make_graph()})
    found = asyncio.run(EngineStore(prebuilt).find("tiny-1", "w1"))
    assert found.manifest == manifest
    assert asyncio.run(found.read(manifest.entry("doubler"))) == make_graph()


def test_engines_built_from_other_weights_are_not_used(
    prebuilt: Prebuilt, make_manifest: Make, make_graph: Graph
) -> None:
    prebuilt.publish(make_manifest(make_graph()), {"doubler": make_graph()})
    with pytest.raises(EngineNotBuilt, match="longtake engines build --model tiny-1"):
        asyncio.run(EngineStore(prebuilt).find("tiny-1", "w2"))


def test_a_file_that_was_changed_is_refused_before_it_is_loaded(
    prebuilt: Prebuilt, make_manifest: Make, make_graph: Graph
) -> None:
    manifest = make_manifest(make_graph())
    prebuilt.publish(manifest, {"doubler": make_graph()})
    file = prebuilt.folder / "doubler.onnx"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(EngineCorrupt, match=r"doubler\.onnx"):
        prebuilt.read(manifest.entry("doubler"))


def test_a_valid_graph_that_the_manifest_does_not_name_is_refused(
    prebuilt: Prebuilt, make_manifest: Make, make_graph: Graph
) -> None:
    manifest = make_manifest(make_graph())
    prebuilt.publish(manifest, {"doubler": make_graph()})
    (prebuilt.folder / "doubler.onnx").write_bytes(make_graph(factor=3.0))
    with pytest.raises(EngineCorrupt):
        prebuilt.read(manifest.entry("doubler"))


def test_a_file_that_is_gone_is_missing(prebuilt: Prebuilt, make_manifest: Make, make_graph: Graph) -> None:
    manifest = make_manifest(make_graph())
    prebuilt.publish(manifest, {"doubler": make_graph()})
    (prebuilt.folder / "doubler.onnx").unlink()
    with pytest.raises(EngineNotBuilt):
        prebuilt.read(manifest.entry("doubler"))


def test_what_is_published_must_be_what_the_manifest_names(
    prebuilt: Prebuilt, make_manifest: Make, make_graph: Graph
) -> None:
    with pytest.raises(EngineCorrupt):
        prebuilt.publish(make_manifest(make_graph()), {"doubler": make_graph(factor=3.0)})
    assert not (prebuilt.folder / "manifest.json").exists()


def test_built_engines_are_found_behind_the_prebuilt_ones(
    prebuilt: Prebuilt, built: Built, make_manifest: Make, make_graph: Graph
) -> None:
    prebuilt.publish(make_manifest(make_graph()), {"doubler": make_graph()})
    other = make_manifest(make_graph(factor=3.0), weights="w2")
    asyncio.run(built.publish(other, {"doubler": make_graph(factor=3.0)}))
    store = EngineStore(prebuilt, built)
    assert asyncio.run(store.find("tiny-1", "w1")).layer is prebuilt
    found = asyncio.run(store.find("tiny-1", "w2"))
    assert found.layer is built
    assert asyncio.run(found.read(other.entry("doubler"))) == make_graph(factor=3.0)


def test_publishing_the_same_engines_twice_is_fine_and_others_are_refused(
    built: Built, make_manifest: Make, make_graph: Graph
) -> None:
    manifest = make_manifest(make_graph())
    asyncio.run(built.publish(manifest, {"doubler": make_graph()}))
    asyncio.run(built.publish(manifest, {"doubler": make_graph()}))
    other = make_graph(factor=3.0)
    with pytest.raises(EngineUnfit, match="other engines of these weights"):
        asyncio.run(built.publish(make_manifest(other), {"doubler": other}))
    assert asyncio.run(built.manifest("tiny-1", "w1")) == manifest


def test_an_empty_store_names_the_command(built: Built, prebuilt: Prebuilt) -> None:
    with pytest.raises(EngineNotBuilt, match="longtake engines build --model tiny-1"):
        asyncio.run(EngineStore(prebuilt, built).find("tiny-1", "w1"))
