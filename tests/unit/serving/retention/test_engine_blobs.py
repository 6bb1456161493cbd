"""Bytes of engines go when no manifest names them, and never while somebody may be about to write one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from engines import objects as layout
from engines.claims import Claims
from serving.engine_objects import EngineObjects
from tests.unit.serving.retention.clocked_store import Clock, ClockedStore
from tests.unit.serving.retention.conftest import Collect

pytestmark = pytest.mark.anyio


async def put(store: ClockedStore, data: bytes) -> str:
    """A blob, as a builder puts it; its key."""
    key = layout.blob_key(hashlib.sha256(data).hexdigest())
    await EngineObjects(store).keep(key, data)
    return key


async def name(store: ClockedStore, *blobs: str, manifest: str = "manifest-1.json") -> None:
    """A manifest of these, of whatever version, signed by nobody."""
    digests = [blob.removeprefix(layout.BLOBS) for blob in blobs]
    await store.put_if_absent(f"engines/tiny-1/w1/{manifest}", repr({"any": {"shape": digests}}).encode())


async def test_what_no_manifest_names_goes_after_a_day(store: ClockedStore, clock: Clock, collect: Collect) -> None:
    named, left = await put(store, b"named"), await put(store, b"left")
    await name(store, named)
    clock.advance(23)
    report = await collect()
    assert (report.of("engines").live.keys, report.of("engines").young.keys) == (1, 1)
    clock.advance(2)
    assert (await collect(dry_run=True)).of("engines").collected.keys == 1
    assert store.keys(layout.BLOBS) == sorted([named, left])
    assert (await collect()).of("engines").collected.keys == 1
    assert store.keys(layout.BLOBS) == [named]


async def test_what_a_builder_finds_there_is_young_again(store: ClockedStore, clock: Clock, collect: Collect) -> None:
    left = await put(store, b"left by a build that was killed")
    clock.advance(48)
    assert await put(store, b"left by a build that was killed") == left
    await collect()
    assert store.keys(layout.BLOBS) == [left]


@pytest.mark.parametrize("manifest", ["manifest-2.json", "compiled-1.json"])
async def test_the_manifest_of_a_later_version_counts_and_that_of_engines_to_be_verified(
    store: ClockedStore, clock: Clock, collect: Collect, manifest: str
) -> None:
    old, new = await put(store, b"old"), await put(store, b"new")
    await name(store, old)
    await name(store, new, manifest=manifest)
    clock.advance(48)
    await collect()
    assert store.keys(layout.BLOBS) == sorted([old, new])


async def test_weights_beside_an_engine_are_needed_as_long_as_it_is(
    store: ClockedStore, clock: Clock, collect: Collect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx_ir", reason="a build needs longtake[build]")
    from tests import beside_engines

    beside_engines.lower(monkeypatch)
    built = beside_engines.machine(store, tmp_path / "builder")
    entry = (await beside_engines.publish(built)).engines[0]
    clock.advance(48)
    await collect()
    assert store.keys(layout.BLOBS) == sorted(
        layout.blob_key(digest) for digest in (entry.sha256, *(file.sha256 for file in entry.weights))
    )
    await built.remove("tiny-1", "w1")
    await collect()
    assert store.keys(layout.BLOBS) == []


async def test_who_builds_a_set_is_said_until_a_day_after_the_build(
    store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    claims = Claims(EngineObjects(store))
    async with claims.turn("tiny-1", "w1", lambda _: None):
        pass
    await name(store)
    clock.advance(23)
    assert (await collect()).of("claims").young.keys == 1
    clock.advance(2)
    assert (await collect()).of("claims").collected.keys == 1
    assert store.keys(layout.ENGINES) == ["engines/tiny-1/w1/manifest-1.json"]
    async with claims.turn("tiny-1", "w1", lambda _: None):
        assert (await collect()).of("claims").young.keys == 1


async def test_what_is_too_large_for_a_manifest_is_told_and_nothing_of_engines_goes(
    store: ClockedStore, clock: Clock, collect: Collect, tmp_path: Path
) -> None:
    left = await put(store, b"left")
    await name(store)
    os.truncate(tmp_path / "store/objects/engines/tiny-1/w1/manifest-1.json", 1 << 40)
    clock.advance(48)
    report = await collect()
    assert list(report.strays) == ["engines/tiny-1/w1/manifest-1.json"]
    assert store.keys(layout.BLOBS) == [left]


async def test_what_somebody_left_among_the_bytes_stays(store: ClockedStore, clock: Clock, collect: Collect) -> None:
    await store.put_if_absent(f"{layout.BLOBS}notes.txt", b"")
    clock.advance(48)
    report = await collect()
    assert list(report.strays) == [f"{layout.BLOBS}notes.txt"]
    assert store.keys(layout.BLOBS) == [f"{layout.BLOBS}notes.txt"]


async def test_files_of_models_go_a_day_after_the_last_record_that_names_them(
    store: ClockedStore, clock: Clock, collect: Collect
) -> None:
    """Those of a base stay as long as a model with adapters stands on it, whatever version wrote the records."""
    kept = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("shared", "own", "left")}
    for model, name in (("wan", "shared"), ("other", "own"), ("gone", "left")):
        await EngineObjects(store).keep(layout.model_files_key(model, kept[name]), name.encode())
    records = [layout.model_key("wan+style"), layout.model_key("other")]
    await store.put_if_absent(records[0], f'{{"format": 9, "shares": "{kept["shared"]}"}}'.encode())
    await store.put_if_absent(records[1], f'{{"kept": "{kept["own"]}"}}'.encode())
    clock.advance(23)
    assert (await collect()).of("models").collected.keys == 0
    clock.advance(2)
    report = await collect()
    assert (report.of("models").collected.keys, list(report.strays)) == (1, [])
    assert store.keys(layout.MODELS) == sorted(
        [*records, layout.model_files_key("wan", kept["shared"]), layout.model_files_key("other", kept["own"])]
    )


async def test_a_record_that_is_too_large_to_be_one_keeps_the_files_of_all_models(
    store: ClockedStore, clock: Clock, collect: Collect, tmp_path: Path
) -> None:
    key = layout.model_files_key("gone", "a" * 64)
    await EngineObjects(store).keep(key, b"left")
    await store.put_if_absent(layout.model_key("odd"), b"")
    os.truncate(tmp_path / "store/objects" / layout.model_key("odd"), 1 << 30)
    clock.advance(48)
    report = await collect()
    assert list(report.strays) == [layout.model_key("odd")]
    assert key in store.keys(layout.MODELS)
