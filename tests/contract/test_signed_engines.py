"""Signed engines on real stores, a directory and MinIO: what is refused and why, and several builders in processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from engines import models
from engines import objects as layout
from engines.errors import EngineCorrupt, EngineNotBuilt, EngineUntrusted
from engines.signing import PublicKey, SigningKey
from engines.store import Built, EngineStore
from engines.trust import TrustedKeys
from serving.clock import now_ms
from serving.engine_objects import EngineObjects
from serving.retention import sweep
from serving.retention.collect import collect_once
from serving.settings import Retention
from serving.store.base import Store
from serving.store.open import open_store
from tests import servers
from tests.contract.engine_builder import COMPONENTS, MODEL, build_once, engines, layer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
W = "a" * 64
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["directory", "minio"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    if request.param == "directory":
        yield str(tmp_path / "store")
        return
    if servers.program("minio") is None:
        pytest.skip("the program `minio` is not on the PATH")
    monkeypatch.setenv("LONGTAKE_S3_ACCESS_KEY", servers.ACCESS_KEY)
    monkeypatch.setenv("LONGTAKE_S3_SECRET_KEY", servers.SECRET_KEY)
    with servers.minio_server(tmp_path / "server") as running:
        yield running.url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url)
    yield opened
    await opened.close()


@pytest.fixture
async def built(store: Store, tmp_path: Path) -> Built:
    """Published and signed, as the machine sees it that built it."""
    made = layer(store, tmp_path / "alice")
    await made.publish(*engines(W))
    return made


async def load(built: Built, weights: str = W) -> dict[str, bytes]:
    """As a start of the stages does."""
    found = await EngineStore(built=built).find(MODEL, weights)
    return {name: await found.read(found.manifest.entry(name)) for name in COMPONENTS}


async def change(store: Store, key: str, data: bytes) -> None:
    await store.delete(key)
    assert await store.put_if_absent(key, data)


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


async def of_set(store: Store, prefix: str = "") -> list[str]:
    return [entry.key async for entry in store.list(layout.set_folder(MODEL, W) + prefix)]


# ── one machine writes, others read ─────────────────────────────────────────────────────────────────────────────────


async def test_what_was_signed_is_read_where_the_signer_is_trusted(built: Built, store: Store, tmp_path: Path) -> None:
    assert await load(built) == engines(W)[1]
    server = Built(EngineObjects(store), TrustedKeys(tmp_path / "server" / "trusted"))
    [alice] = built.signatures.trusted.read()
    with pytest.raises(EngineUntrusted, match=f"signed by {alice.id}, and .*trust add"):
        await load(server)
    server.signatures.trusted.add(PublicKey.parse(str(alice)))
    assert await load(server) == engines(W)[1]


async def test_each_flipped_byte_is_told_for_what_it_is(built: Built, store: Store) -> None:
    [signature] = await of_set(store, "signatures/")
    cases = {
        layout.manifest_key(MODEL, W): (EngineUntrusted, "it was changed.*engines rm.*build them again"),
        signature: (EngineUntrusted, "is not over this manifest.*engines rm.*build them again"),
        layout.blob_key(engines(W)[0].engines[1].sha256): (EngineCorrupt, "not the engine that the manifest names"),
    }
    for key, (error, message) in cases.items():
        data = (await store.get(key)).data
        for damaged in (flipped(data), data[:-1], data + b"\0"):
            await change(store, key, damaged)
            with pytest.raises(error, match=message):
                await load(built)
        await change(store, key, data)
    await load(built)


async def test_an_object_too_many_is_named(built: Built, store: Store) -> None:
    stray = layout.set_folder(MODEL, W) + "plugin.so"
    await store.put_if_absent(stray, b"x")
    with pytest.raises(EngineCorrupt, match=f"{stray}.*not in the manifest.*remove it"):
        await load(built)
    await store.delete(stray)
    await load(built)


async def test_engines_without_a_signature_name_the_command_that_signs(built: Built, store: Store) -> None:
    for key in await of_set(store, "signatures/"):
        await store.delete(key)
    with pytest.raises(EngineUntrusted, match=f"longtake engines sign --adopt --model {MODEL}"):
        await load(built)


async def test_a_removed_set_is_not_there_until_it_is_built_again(built: Built) -> None:
    assert await built.remove(MODEL, W) is not None
    with pytest.raises(EngineNotBuilt, match=f"longtake engines build --model {MODEL}"):
        await load(built)
    await built.publish(*engines(W))
    await load(built)


async def test_keys_change_without_a_moment_in_which_nothing_loads(built: Built, store: Store, tmp_path: Path) -> None:
    trusted, new = built.signatures.trusted, SigningKey.generate("new")
    [old] = trusted.read()
    trusted.add(new.public)
    data = await built.manifest_bytes(MODEL, W)
    assert data is not None
    await built.signatures.add(MODEL, W, data, new)
    await load(built)
    trusted.remove(old.id)
    await load(built)
    trusted.remove(new.public.id)
    with pytest.raises(EngineUntrusted, match=new.public.id):
        await load(built)


# ── builders in processes of their own ──────────────────────────────────────────────────────────────────────────────


def builder(url: str, home: Path, *, weights: str = W, seconds: float, silent_s: float = 60.0) -> subprocess.Popen[str]:
    words = (url, str(home), weights, str(seconds), str(silent_s))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.contract.engine_builder", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


async def turn_of(store: Store, model: str, weights: str) -> dict[str, Any]:
    """The claim, as it lies there."""
    found = await EngineObjects(store).get(layout.claim_key(model, weights), limit=1 << 20)
    return json.loads(found.data) if found else {}


def until(process: subprocess.Popen[str], wanted: str) -> None:
    """Read what it says until it says this."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(wanted):
            return
    pytest.fail(f"the builder never said {wanted!r}")


def rest(process: subprocess.Popen[str]) -> list[str]:
    """All that it says yet."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.splitlines()


async def test_of_two_builders_one_builds_and_the_other_waits_and_takes_it(
    url: str, store: Store, tmp_path: Path
) -> None:
    """Both make their first key in the same home at the same moment."""
    both = [builder(url, tmp_path / "home", seconds=3.0) for _ in range(2)]
    told = await asyncio.gather(*(asyncio.to_thread(rest, one) for one in both))
    worked, waited = sorted(told, key=lambda lines: "took them" in lines)
    assert [line for line in worked if not line.startswith("waits")] == ["builds", "publishes", "built them"]
    assert waited[-1] == "took them"
    assert any(line.endswith("who is compiling dit (2 of 3)") for line in waited), "it shows how far the other is"
    assert await load(layer(store, tmp_path / "home")) == engines(W)[1]
    assert {file.name for file in (tmp_path / "home").iterdir()} == {"key.pem", "trusted"}
    assert not (await turn_of(store, MODEL, W))["working"], "nobody's turn is left"


async def test_a_killed_builders_turn_is_taken_when_it_has_been_silent(url: str, store: Store, tmp_path: Path) -> None:
    killed = builder(url, tmp_path / "home", seconds=600)
    await asyncio.to_thread(until, killed, "builds")
    killed.kill()
    killed.wait()
    assert (await turn_of(store, MODEL, W))["working"]
    told = await asyncio.to_thread(rest, builder(url, tmp_path / "home", seconds=0, silent_s=1.5))
    assert told[0].startswith("waits for ")
    assert told[-1] == "built them"
    await load(layer(store, tmp_path / "home"))


async def here(store: Store, home: Path, weights: str, silent_s: float) -> list[str]:
    """What a builder in this process says."""
    told: list[str] = []
    await build_once(store, home, weights, told.append, seconds=0, silent_s=silent_s)
    return told


async def test_whenever_a_builder_is_killed_a_set_is_whole_or_not_there(url: str, store: Store, tmp_path: Path) -> None:
    reader, random, whole = layer(store, tmp_path / "home"), Random(1), 0
    rounds = 12
    for number in range(rounds):
        weights = f"{number:064x}"
        killed = builder(url, tmp_path / "home", weights=weights, seconds=0)
        await asyncio.to_thread(until, killed, "publishes")
        await asyncio.sleep(random.uniform(0, 0.2))
        killed.kill()
        killed.wait()
        if await reader.manifest(MODEL, weights) is not None:
            whole += 1
            assert await load(reader, weights) == engines(weights)[1]
        told = await here(store, tmp_path / "home", weights, silent_s=0.3)
        assert told[-1] == ("built them" if "builds" in told else "took them")
        assert await load(reader, weights) == engines(weights)[1]
    assert 0 <= whole < rounds
    async for entry in store.list(layout.ENGINES):
        part = layout.read_set_key(entry.key)
        assert entry.key.startswith(layout.BLOBS) or (part is not None and part.known), "a name that was left over"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_build_that_is_interrupted_ends_at_once_and_leaves_its_turn(tmp_path: Path, number: int) -> None:
    """The command itself, in the middle of its work, where the package has no engines."""
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    shutil.copytree(ROOT / "engines", tmp_path / "engines", ignore=shutil.ignore_patterns("prebuilt", "__pycache__"))
    command = [sys.executable, "-m", "serving.cli.main", "engines", "build", "--store", str(tmp_path / "store")]
    (tmp_path / "aside").mkdir()
    homes = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "aside")}
    environment = {**os.environ, **homes, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    digest = models.find("sprite").weights_digest() or ""
    store = await open_store(str(tmp_path / "store"))
    build = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    while "exporting" not in (await turn_of(store, "sprite-2", digest)).get("doing", ""):
        assert build.returncode is None
        await asyncio.sleep(0.2)
    build.send_signal(number)
    _, said = await build.communicate()
    assert build.returncode == 130
    assert said.decode().splitlines()[-1] == "interrupted: nothing was published"
    assert not (await turn_of(store, "sprite-2", digest))["working"]
    assert [entry.key async for entry in store.list(layout.BLOBS)] == []
    assert not list((tmp_path / "aside").glob("longtake-*"))
    await store.close()


async def test_bytes_that_no_manifest_names_are_collected_and_a_builder_at_work_loses_none(
    url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times that a collection spares are short here: what is old is collected while it is being published again."""
    monkeypatch.setattr(sweep, "PUBLISHED_WITHIN_S", 0.0)
    retention = Retention().model_copy(update={"margin_s": 1.0})
    made = layer(store, tmp_path / "home")
    left = {layout.blob_key(entry.sha256) for entry in engines(W)[0].engines}
    for _ in range(3):
        await made.publish(*engines(W))
        await made.remove(MODEL, W)
        await asyncio.sleep(2.1)
        _, report = await asyncio.gather(made.publish(*engines(W)), collect_once(store, retention, now_ms=now_ms))
        assert await load(made) == engines(W)[1]
        assert report.damaged == []
        await made.remove(MODEL, W)
    await asyncio.sleep(2.1)
    report = await collect_once(store, retention, now_ms=now_ms)
    assert report.of("engines").collected.keys == len(left)
    assert [entry.key async for entry in store.list(layout.BLOBS)] == []
