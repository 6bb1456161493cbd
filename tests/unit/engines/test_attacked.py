"""Whoever can write to the store, and not to the list of trusted keys, gets nothing loaded that nobody built for it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines import objects as layout
from engines.claims import Claims, Waiting
from engines.errors import EngineCorrupt, EngineError, EngineUntrusted
from engines.manifest import Manifest
from engines.objects import MANIFEST_BYTES
from engines.signing import SigningKey
from engines.store import Built, EngineStore, Prebuilt
from serving.engine_objects import EngineObjects
from serving.store.directory import DirectoryStore

Make = Callable[..., Manifest]
Graph = Callable[..., bytes]
Load = Callable[[Built], None]
JUNK: tuple[Any, ...] = (None, True, -1, 2**80, 1e400, "", "../../x", "\x1b[2J", [], ["a"], {}, {"a": 1})


def place(store: DirectoryStore, key: str, data: bytes) -> None:
    """Write it, whatever is there."""

    async def run() -> None:
        await store.delete(key)
        assert await store.put_if_absent(key, data)

    asyncio.run(run())


def read(store: DirectoryStore, key: str) -> bytes:
    return asyncio.run(store.get(key)).data


def copy_set(store: DirectoryStore, source: tuple[str, str], target: tuple[str, str]) -> None:
    """Manifest and signatures of one set put in another's place."""

    async def run() -> None:
        folder = layout.set_folder(*source)
        keys = [entry.key async for entry in store.list(folder)]
        for key in keys:
            copied = layout.set_folder(*target) + key.removeprefix(folder)
            await store.delete(copied)
            await store.put_if_absent(copied, (await store.get(key)).data)

    asyncio.run(run())


def sign(store: DirectoryStore, key: SigningKey, manifest: bytes) -> None:
    place(store, layout.manifest_key("tiny-1", "w1"), manifest)
    place(store, layout.signature_key("tiny-1", "w1", manifest, key.public.id), key.sign(manifest))


def sparse(tmp_path: Path, key: str, size: int) -> None:
    """An object that takes no room and is said to be large."""
    path = tmp_path / "store" / "objects" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)


@pytest.fixture
def alice(built: Built) -> SigningKey:
    """Who is trusted."""
    key = built._key
    assert key is not None
    return key


@pytest.mark.parametrize("other", [("other-1", "w1"), ("tiny-1", "w2")])
def test_signed_sets_of_two_models_or_weights_are_not_swapped(
    other: tuple[str, str],
    load: Load,
    built: Built,
    store: DirectoryStore,
    make_manifest: Make,
    make_graph: Graph,
) -> None:
    graph, (model, weights) = make_graph(factor=3.0), other
    asyncio.run(built.publish(make_manifest(graph, model=model, weights=weights), {"doubler": graph}))
    copy_set(store, other, ("tiny-1", "w1"))
    with pytest.raises(EngineCorrupt, match=rf"the manifest of {model}, weights {weights}.*engines rm --model tiny-1"):
        load(built)
    copy_set(store, ("tiny-1", "w1"), other)
    assert asyncio.run(built.manifest(*other)) is not None


def test_what_was_removed_and_put_back_is_refused_where_its_digest_is(
    load: Load, built: Built, store: DirectoryStore
) -> None:
    key = layout.manifest_key("tiny-1", "w1")
    old = read(store, key)
    digest = asyncio.run(built.remove("tiny-1", "w1"))
    assert digest is not None
    place(store, key, old)
    load(built)  # somebody who is trusted made it for this model: nobody here has said no
    assert built.signatures.trusted.refuse(digest)
    assert not built.signatures.trusted.refuse(digest)
    with pytest.raises(EngineUntrusted, match=f"refuses these engines.*trust rm {digest[:16]}"):
        load(built)
    assert built.signatures.trusted.remove(digest[:16]) == digest
    load(built)


def test_a_stranger_in_the_name_of_who_is_trusted_is_nobody(
    load: Load, built: Built, store: DirectoryStore, alice: SigningKey, make_manifest: Make, make_graph: Graph
) -> None:
    mallory, evil = SigningKey.generate(alice.public.name), make_graph(factor=3.0)
    manifest = make_manifest(evil).to_json()
    place(store, layout.blob_key(make_manifest(evil).engines[0].sha256), evil)
    place(store, layout.manifest_key("tiny-1", "w1"), manifest)
    place(store, layout.signature_key("tiny-1", "w1", manifest, alice.public.id), mallory.sign(manifest))
    with pytest.raises(EngineUntrusted, match=f"the signature of {alice.public.id} is not over this manifest"):
        load(built)
    place(store, layout.signature_key("tiny-1", "w1", manifest, mallory.public.id), mallory.sign(manifest))
    with pytest.raises(EngineUntrusted):
        load(built)


def test_a_signature_over_something_else_is_none_over_a_manifest(
    load: Load, built: Built, store: DirectoryStore, alice: SigningKey
) -> None:
    manifest = read(store, layout.manifest_key("tiny-1", "w1"))
    where = layout.signature_key("tiny-1", "w1", manifest, alice.public.id)
    place(store, where, alice._private.sign(manifest))  # the same key, for another purpose
    with pytest.raises(EngineUntrusted):
        load(built)


@pytest.mark.parametrize("what", ["manifest", "claim", "blob"])
def test_objects_that_claim_to_be_huge_are_not_read(
    what: str, load: Load, built: Built, tmp_path: Path, make_manifest: Make, make_graph: Graph
) -> None:
    huge = 1 << 40
    if what == "blob":
        sparse(tmp_path, layout.blob_key(make_manifest(make_graph()).engines[0].sha256), huge)
        with pytest.raises(EngineCorrupt, match="engines rm --model tiny-1"):
            load(built)
    elif what == "manifest":
        sparse(tmp_path, layout.manifest_key("tiny-1", "w1"), huge)
        refusal = f"more than {MANIFEST_BYTES >> 10} KiB.*remove this object"
        with pytest.raises(EngineCorrupt, match=refusal):
            load(built)
        with pytest.raises(EngineCorrupt, match=refusal):
            asyncio.run(built.remove("tiny-1", "w1"))
        with pytest.raises(EngineCorrupt, match=refusal):
            asyncio.run(built.publish(make_manifest(make_graph()), {"doubler": make_graph()}))
    else:
        sparse(tmp_path, layout.claim_key("tiny-1", "w1"), huge)
        turn = Claims(built.objects).turn("tiny-1", "w1", lambda _: None)
        with pytest.raises(EngineCorrupt, match="remove this object"):
            asyncio.run(turn.__aenter__())


@pytest.mark.parametrize("digest", ["../../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", ""])
def test_a_digest_that_leads_elsewhere_is_none_whoever_signed_it(
    digest: str,
    load: Load,
    built: Built,
    store: DirectoryStore,
    alice: SigningKey,
    make_manifest: Make,
    make_graph: Graph,
) -> None:
    manifest = make_manifest(make_graph())
    leading = replace(manifest, engines=(replace(manifest.engines[0], sha256=digest),))
    sign(store, alice, leading.to_json())
    with pytest.raises(EngineCorrupt):
        load(built)


def spoiled(value: Any) -> Iterator[Any]:
    """Copies of a JSON value in which one part is something else."""
    yield from JUNK
    if isinstance(value, dict):
        for name, part in value.items():
            yield {key: said for key, said in value.items() if key != name}
            for other in spoiled(part):
                yield {**value, name: other}
    elif isinstance(value, list):
        for place_, part in enumerate(value[:2]):
            for other in spoiled(part):
                yield [*value[:place_], other, *value[place_ + 1 :]]


def test_whatever_a_manifest_says_it_is_read_or_refused_in_one_line(make_manifest: Make, make_graph: Graph) -> None:
    """Those who sign and list read it before anybody has signed it."""
    value = json.loads(make_manifest(make_graph()).to_json())
    value["probes"] = [{"component": "doubler", "case": "ones", "seed": 1, "values": {"y": [1.0, 2.0]}}]
    read: list[Manifest] = []
    refused: list[str] = []
    for other in spoiled(value):
        try:
            read.append(Manifest.from_json(json.dumps(other).encode(), where="here"))
        except EngineCorrupt as error:
            refused.append(str(error))
    assert len(refused) > 500
    assert [message for message in refused if not message.isprintable()] == []
    for found in read:
        assert found.to_json()
        entry = found.engines[0]
        assert (found.model, found.runtime, entry.component) == ("tiny-1", "onnxruntime", "doubler")
        assert isinstance(entry.parity, float)
    for data in (b"", b"\xff", b"[" * 100_000, b"9" * 10_000, b'{"format": 1}'):
        with pytest.raises(EngineCorrupt):
            Manifest.from_json(data, where="here")


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xff",
        b"[]",
        pytest.param(b"[" * 10_000, id="deep"),
        b'{"working": 1}',
        b'{"working": true, "nonce": {}, "holder": "\\u001b[2J", "doing": ["\\n"]}',
    ],
)
def test_a_claim_of_any_bytes_holds_nobody_up_for_longer_than_silence(record: bytes, store: DirectoryStore) -> None:
    waited: list[Waiting] = []

    async def run() -> None:
        await store.put_if_absent(layout.claim_key("tiny-1", "w1"), record)
        async with Claims(EngineObjects(store), beat_s=0.05, silent_s=0.2).turn("tiny-1", "w1", waited.append):
            pass

    asyncio.run(run())
    assert all((one.holder + one.doing).isprintable() for one in waited)


def test_links_in_the_packages_folder_lead_to_the_bytes_of_the_manifest_or_nowhere(
    tmp_path: Path, make_manifest: Make, make_graph: Graph
) -> None:
    layer, manifest = Prebuilt(tmp_path / "prebuilt"), make_manifest(make_graph())
    layer.publish(manifest, {"doubler": make_graph()})
    file = layer.path(manifest.engines[0])
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")  # as installers that save room have it
    found = asyncio.run(EngineStore(layer).find("tiny-1", "w1"))
    assert asyncio.run(found.read(manifest.engines[0])) == make_graph()
    (tmp_path / "elsewhere").write_bytes(make_graph(factor=3.0))
    with pytest.raises(EngineError):
        layer.read(manifest.engines[0])
    (layer.folder / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineCorrupt, match="more: not in the manifest"):
        layer.check_names(manifest)


def test_a_link_in_the_way_of_a_publication_is_not_followed(
    tmp_path: Path, make_manifest: Make, make_graph: Graph
) -> None:
    layer, manifest = Prebuilt(tmp_path / "prebuilt"), make_manifest(make_graph())
    layer.folder.mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    for name in (".doubler.onnx.partial", ".manifest.json.partial", "doubler.onnx", "manifest.json", "more"):
        (layer.folder / name).symlink_to(tmp_path / "precious")
    layer.publish(manifest, {"doubler": make_graph()})
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert layer.manifest("tiny-1", "w1") == manifest
    layer.check_names(manifest)
