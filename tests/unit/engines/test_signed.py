"""Engines of a store are loaded when somebody who is trusted signed exactly them, and refused with the reason else."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import objects as layout
from engines.claims import Claims, Waiting
from engines.errors import EngineCorrupt, EngineError, EngineUntrusted
from engines.key import digest_of
from engines.manifest import Manifest
from engines.signing import PublicKey, SigningKey
from engines.store import Built, Prebuilt
from engines.trust import TrustedKeys, load_key, make_key, own_key
from serving.engine_objects import EngineObjects
from serving.store.directory import DirectoryStore

Make = Callable[..., Manifest]
Graph = Callable[..., bytes]
Load = Callable[[Built], None]


def manifest_of(layer: Built) -> bytes:
    data = asyncio.run(layer.manifest_bytes("tiny-1", "w1"))
    assert data is not None
    return data


def objects_of(tmp_path: Path) -> list[Path]:
    found = [path for path in (tmp_path / "store" / "objects").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.name != "building")


def test_a_link_to_a_key_that_is_not_mounted_makes_no_key(tmp_path: Path) -> None:
    (tmp_path / "key.pem").symlink_to(tmp_path / "secret" / "key.pem")
    trusted = TrustedKeys(tmp_path / "trusted")
    with pytest.raises(EngineUntrusted, match="a link to nothing"):
        own_key(tmp_path / "key.pem", trusted)
    assert not trusted.read()


def test_a_key_is_read_as_it_is_listed_with_its_id_before_it() -> None:
    key = SigningKey.generate("alice").public
    assert PublicKey.parse(f"{key.id}  {key}") == key
    other = SigningKey.generate("bob").public
    with pytest.raises(ValueError, match=f"the id of this key is {key.id}"):
        PublicKey.parse(f"{other.id}  {key}")


def test_who_built_them_loads_them(load: Load, built: Built) -> None:
    load(built)


def test_a_flipped_byte_of_any_object_at_any_of_many_places_is_refused(
    load: Load, built: Built, tmp_path: Path
) -> None:
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


def test_an_unknown_signer_is_named_until_he_is_trusted(
    load: Load, built: Built, store: DirectoryStore, tmp_path: Path
) -> None:
    elsewhere = Built(EngineObjects(store), TrustedKeys(tmp_path / "bob" / "trusted"))
    [alice] = built.signatures.trusted.read()
    with pytest.raises(EngineUntrusted, match=f"signed by {alice.id}.*engines trust add"):
        load(elsewhere)
    elsewhere.signatures.trusted.add(PublicKey.parse(str(alice)))
    load(elsewhere)
    elsewhere.signatures.trusted.remove(alice.id)
    with pytest.raises(EngineUntrusted):
        load(elsewhere)


def test_unsigned_engines_of_the_version_before_are_refused_with_the_command(
    load: Load, built: Built, tmp_path: Path
) -> None:
    shutil.rmtree(next(path.parent for path in objects_of(tmp_path) if path.parent.name == "signatures"))
    with pytest.raises(EngineUntrusted, match="longtake engines sign --adopt --model tiny-1"):
        load(built)


def test_an_object_too_many_is_refused(load: Load, built: Built, store: DirectoryStore) -> None:
    asyncio.run(store.put_if_absent(layout.set_folder("tiny-1", "w1") + "plugin.so", b"x"))
    with pytest.raises(EngineCorrupt, match=r"plugin\.so': not in the manifest"):
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


def test_removed_engines_are_gone_and_can_be_built_again(
    load: Load, built: Built, make_manifest: Make, make_graph: Graph
) -> None:
    digest = digest_of(manifest_of(built))
    assert asyncio.run(built.remove("tiny-1", "w1")) == digest
    assert asyncio.run(built.manifest("tiny-1", "w1")) is None
    assert asyncio.run(built.remove("tiny-1", "w1")) is None
    asyncio.run(built.publish(make_manifest(make_graph()), {"doubler": make_graph()}))
    load(built)


def test_a_key_is_its_owners_alone_and_is_refused_when_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    trusted = TrustedKeys(tmp_path / "trusted")
    made = make_key(path, trusted)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {file.name for file in tmp_path.iterdir()} == {"key.pem", "trusted"}
    with pytest.raises(FileExistsError):
        make_key(path, trusted)
    assert trusted.read() == (made.public,), "a key that was not kept is not trusted"
    loaded = load_key(path)
    assert loaded is not None
    assert loaded.public == made.public
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(EngineUntrusted, match="chmod 600"):
            load_key(path)


def test_a_list_of_trusted_keys_that_others_may_change_is_refused(load: Load, built: Built) -> None:
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


def test_keys_change_one_after_the_other(load: Load, built: Built, store: DirectoryStore, tmp_path: Path) -> None:
    server = Built(EngineObjects(store), TrustedKeys(tmp_path / "server" / "trusted"))
    [old], new = built.signatures.trusted.read(), SigningKey.generate("new")
    server.signatures.trusted.add(old)
    load(server)
    server.signatures.trusted.add(new.public)
    assert asyncio.run(built.signatures.add("tiny-1", "w1", manifest_of(built), new))
    assert not asyncio.run(built.signatures.add("tiny-1", "w1", manifest_of(built), new))
    assert server.signatures.trusted.remove(old.id[:6]) == old
    load(server)
    server.signatures.trusted.remove(new.public.id)
    with pytest.raises(EngineUntrusted, match=f"signed by .*{new.public.id}"):
        load(server)


def test_a_list_keeps_its_comments_and_a_line_that_is_no_key_is_named(tmp_path: Path) -> None:
    key, other = SigningKey.generate("alice").public, SigningKey.generate("bob").public
    trusted = TrustedKeys(tmp_path / "trusted")
    trusted.path.write_text(f"# who builds\n{key}  # since 2026\n")
    assert trusted.add(other)
    assert not trusted.add(other)
    assert trusted.remove(other.id) == other
    assert trusted.path.read_text() == f"# who builds\n{key}  # since 2026\n"
    for which in ("", "zz"):
        with pytest.raises(EngineUntrusted, match="names 0 lines"):
            trusted.remove(which)
    for line in ("ed25519 AAAA alice", "rsa " + str(key)[8:], "ed25519 ***", "refused abc"):
        trusted.path.write_text(f"{key}\n{line}\n")
        with pytest.raises(EngineUntrusted, match="line 2"):
            trusted.read()
    assert [file.name for file in tmp_path.iterdir()] == ["trusted"]


def test_a_name_that_would_be_another_line_is_none() -> None:
    for name in ("a\nb", "a # b", "x" * 81):
        with pytest.raises(ValueError, match="a key's name is"):
            SigningKey.generate(name)


def test_a_key_of_openssl_signs_and_one_of_another_kind_is_refused_with_the_command(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    for kind, fits in (("ed25519", True), ("x25519", False)):
        made = ["openssl", "genpkey", "-algorithm", kind, "-out", str(path)]
        if subprocess.run(made, capture_output=True, check=False).returncode:
            pytest.skip("the program `openssl` is not on the PATH, or makes no such keys")
        path.chmod(0o600)
        if fits:
            assert load_key(path) is not None
        else:
            with pytest.raises(EngineUntrusted, match="engines keygen"):
                load_key(path)
