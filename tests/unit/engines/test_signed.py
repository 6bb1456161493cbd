"""Engines of a store are loaded when somebody who is trusted signed exactly them, and refused with the reason else."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import objects as layout
from engines.claims import Claims, Waiting
from engines.errors import EngineCorrupt, EngineError, EngineUntrusted
from engines.manifest import Manifest
from engines.signing import PublicKey
from engines.store import Built, Prebuilt
from engines.trust import TrustedKeys, load_key, make_key, own_key
from serving.engine_store import EngineObjects
from serving.store.directory import DirectoryStore

Make = Callable[..., Manifest]
Graph = Callable[..., bytes]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    opened = DirectoryStore(tmp_path / "store")
    asyncio.run(opened.open())
    return opened


@pytest.fixture
def built(store: DirectoryStore, tmp_path: Path, make_manifest: Make, make_graph: Graph) -> Built:
    """A set of engines, as the machine sees it that made them."""
    trusted = TrustedKeys(tmp_path / "alice" / "trusted")
    layer = Built(EngineObjects(store), trusted, key=own_key(tmp_path / "alice" / "key.pem", trusted))
    asyncio.run(layer.publish(make_manifest(make_graph()), {"doubler": make_graph()}))
    return layer


def load(layer: Built) -> None:
    """As a start of a stage does."""

    async def run() -> None:
        manifest = await layer.manifest("tiny-1", "w1")
        assert manifest is not None
        for entry in manifest.engines:
            await layer.read(entry)

    asyncio.run(run())


def objects_of(tmp_path: Path) -> list[Path]:
    found = [path for path in (tmp_path / "store" / "objects").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.name != "building")


def test_who_built_them_loads_them(built: Built) -> None:
    load(built)


def test_a_flipped_byte_of_any_object_at_any_of_many_places_is_refused(built: Built, tmp_path: Path) -> None:
    files = objects_of(tmp_path)
    assert len(files) == 3  # manifest, signature, engine
    for file in files:
        data = file.read_bytes()
        for place in {*range(0, len(data), max(1, len(data) // 40)), len(data) - 1}:
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(EngineError):
                load(built)
        for other in (data[:-1], data + b"\0", b""):
            file.write_bytes(other)
            with pytest.raises(EngineError):
                load(built)
        file.write_bytes(data)
    load(built)


def test_an_unknown_signer_is_named_until_he_is_trusted(built: Built, store: DirectoryStore, tmp_path: Path) -> None:
    elsewhere = Built(EngineObjects(store), TrustedKeys(tmp_path / "bob" / "trusted"))
    [alice] = built.signatures.trusted.read()
    with pytest.raises(EngineUntrusted, match=f"signed by {alice.id}.*engines trust add"):
        load(elsewhere)
    elsewhere.signatures.trusted.add(PublicKey.parse(str(alice)))
    load(elsewhere)
    elsewhere.signatures.trusted.remove(alice.id)
    with pytest.raises(EngineUntrusted):
        load(elsewhere)


def test_unsigned_engines_of_the_version_before_are_refused_with_the_command(built: Built, tmp_path: Path) -> None:
    shutil.rmtree(next(path.parent for path in objects_of(tmp_path) if path.parent.name == "signatures"))
    with pytest.raises(EngineUntrusted, match="longtake engines sign --model tiny-1"):
        load(built)


def test_an_object_too_many_is_refused(built: Built, store: DirectoryStore) -> None:
    asyncio.run(store.put_if_absent(layout.set_folder("tiny-1", "w1") + "plugin.so", b"x"))
    with pytest.raises(EngineCorrupt, match=r"plugin\.so: not in the manifest"):
        load(built)


def test_a_file_too_many_in_the_package_is_refused(tmp_path: Path, make_manifest: Make, make_graph: Graph) -> None:
    layer, manifest = Prebuilt(tmp_path), make_manifest(make_graph())
    layer.publish(manifest, {"doubler": make_graph()})
    layer.check_names(manifest)
    (tmp_path / "plugin.so").write_bytes(b"x")
    with pytest.raises(EngineCorrupt, match=r"plugin\.so"):
        layer.check_names(manifest)


def test_a_signed_set_that_was_moved_to_other_weights_is_refused(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "objects" / "engines" / "tiny-1"
    shutil.copytree(folder / "w1", folder / "w2")
    with pytest.raises(EngineCorrupt, match="the manifest of tiny-1, weights w1"):
        asyncio.run(built.manifest("tiny-1", "w2"))


def test_removed_engines_are_gone_and_can_be_built_again(built: Built, make_manifest: Make, make_graph: Graph) -> None:
    assert asyncio.run(built.remove("tiny-1", "w1"))
    assert asyncio.run(built.manifest("tiny-1", "w1")) is None
    assert not asyncio.run(built.remove("tiny-1", "w1"))
    asyncio.run(built.publish(make_manifest(make_graph()), {"doubler": make_graph()}))
    load(built)


def test_a_key_is_its_owners_alone_and_is_refused_when_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["key.pem"]
    with pytest.raises(FileExistsError):
        make_key(path)
    loaded = load_key(path)
    assert loaded is not None
    assert loaded.public == made.public
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(EngineUntrusted, match="chmod 600"):
            load_key(path)


def test_a_list_of_trusted_keys_that_others_may_change_is_refused(built: Built) -> None:
    path = built.signatures.trusted.path
    os.chmod(path, 0o666)  # noqa: PTH101
    with pytest.raises(EngineUntrusted, match="chmod go-w"):
        load(built)


def test_of_two_builders_the_second_waits_and_a_dead_ones_turn_is_taken(store: DirectoryStore) -> None:
    async def run() -> tuple[list[str], list[Waiting]]:
        order: list[str] = []
        waited: list[Waiting] = []

        async def build(name: str) -> None:
            claims = Claims(EngineObjects(store), beat_s=0.05, silent_s=2.0, holder=name)
            async with claims.turn("tiny-1", "w1", waited.append) as claim:
                claim.doing = "compiling"
                order.append(f"{name} begins")
                await asyncio.sleep(0.3)
                order.append(f"{name} ends")

        await asyncio.gather(build("a"), build("b"))
        dead = Claims(EngineObjects(store), beat_s=60, silent_s=60, holder="dead").turn("tiny-1", "w1", waited.append)
        await dead.__aenter__()  # and is never heard of again
        await build("c")
        return order, waited

    order, waited = asyncio.run(run())
    first, second = order[0][0], order[2][0]
    assert order == [f"{n} {what}" for n in (first, second, "c") for what in ("begins", "ends")]
    assert {first, second} == {"a", "b"}
    assert {one.holder for one in waited} == {first, "dead"}
