"""Engines for a GPU that is not here: compiled, verified where it is, and served by nobody before that."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from engines import key as keys
from engines import models
from engines import objects as layout
from engines.building import build
from engines.checkpoints.files import Folder
from engines.errors import EngineCorrupt
from engines.kept import Kept
from engines.manifest import UNVERIFIED, EngineEntry, Manifest
from engines.runtimes.base import Runner
from engines.runtimes.registry import SHIPPED
from engines.runtimes.tensorrt.runner import TensorRtRunner
from engines.spec import ComponentSpec
from engines.store import Built, Prebuilt
from engines.trust import TrustedKeys, own_key
from serving import engine_store
from serving.cli.engines import app
from serving.errors import EngineMissing
from serving.frontdoor.__main__ import catalog_of
from serving.local.up import check
from serving.settings import Engines, Grpc, Http, Settings
from serving.store.base import Store
from serving.store.open import open_store
from tests.unit.engines.building.untrained import untrained
from tests.unit.engines.runtimes.tensorrt.fake_gpu import FakeDevice, FakePackage

RUN = CliRunner()
VARIANT = "tensorrt_rtx-sm89"
VERSION = "1.7.1.116"
RTX = type(SHIPPED.find("tensorrt_rtx"))
Publish = Callable[[bytes | None], Manifest]

rtx = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import tensorrt_rtx"], capture_output=True).returncode != 0,
    reason="real builds need the extra longtake[tensorrt_rtx]",
)


@pytest.fixture
def trusted(home: Path) -> Path:
    return home / ".longtake/engine-keys/trusted"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RTX, "here", lambda _: None)
    monkeypatch.setattr(RTX, "version", lambda _: VERSION)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeDevice]]:
    """A machine with an sm89, which is a stand-in where native calls begin; its plans are the graphs themselves."""
    devices: list[FakeDevice] = []

    def runner(
        _: object, component: ComponentSpec, engine: bytes, *, kept: Kept | None = None, **_more: object
    ) -> Runner:
        devices.append(FakeDevice())
        package = FakePackage(devices[-1])
        return TensorRtRunner(component, engine, lambda: package, device=lambda: package.device, kept=kept)

    monkeypatch.setattr(RTX, "here", lambda _: "sm89")
    monkeypatch.setattr(RTX, "memory", lambda *_: None)
    monkeypatch.setattr(RTX, "version", lambda _: VERSION)
    monkeypatch.setattr(RTX, "runner", runner)
    yield devices
    assert all(device.closed and not device.memory for device in devices)


@pytest.fixture
def publish(bare: Path, tmp_path: Path, trusted: Path) -> Publish:
    """Publishes the model that ships as it would be compiled for sm89; or with other bytes for its decoder's step."""

    def do(decoder: bytes | None) -> Manifest:
        package = Prebuilt(bare)
        shipped = package.manifest("sprite-2", None)
        assert shipped is not None
        engines = {entry.component: package.read(entry) for entry in shipped.engines}
        if decoder is not None:
            engines["vae_decoder_step"] = decoder
        entries = tuple(compiled(entry, engines[entry.component]) for entry in shipped.engines)
        manifest = replace(shipped, engines=entries, end_to_end=UNVERIFIED, runtime_versions=(VERSION, "1.7.1.117"))

        async def put() -> None:
            async with opened(tmp_path, trusted) as (_, built):
                await built.publish(manifest, engines)

        asyncio.run(put())
        return manifest

    return do


def compiled(entry: EngineEntry, engine: bytes) -> EngineEntry:
    spec, bound_to = replace(entry.spec, runtime="tensorrt_rtx", device="sm89"), f"tensorrt_rtx-{VERSION}"
    key = keys.engine_key(spec, graph_digest=entry.graph_digest, runtime_version=bound_to)
    return replace(
        entry,
        key=key,
        spec=spec,
        runtime_version=bound_to,
        sha256=keys.digest_of(engine),
        size=len(engine),
        parity=UNVERIFIED,
    )


@asynccontextmanager
async def opened(tmp_path: Path, trusted: Path) -> AsyncIterator[tuple[Store, Built]]:
    """The store of the settings, and its engines as they are published here."""
    store = await open_store(str(tmp_path / "store"), probe=False)
    keyed = own_key(trusted.with_name("key.pem"), TrustedKeys(trusted))
    try:
        yield store, engine_store.built(store, Engines(trusted_keys=trusted), key=keyed)
    finally:
        await store.close()


def load(tmp_path: Path, trusted: Path, variant: str = VARIANT) -> str:
    """As a stage does; the digest of what it loaded."""

    async def run() -> str:
        async with opened(tmp_path, trusted) as (store, _):
            engines = Engines(trusted_keys=trusted, variant=variant)
            with await engine_store.load("sprite", store, engines, threads=1) as session:
                return session.digest

    return asyncio.run(run())


def told(*arguments: str, code: int = 0) -> dict[str, object]:
    """What a command says as JSON."""
    result = RUN.invoke(app, [*arguments, "-o", "json"])
    assert result.exit_code == code, result.output
    value: dict[str, object] = json.loads(result.stdout)
    return value


def test_what_was_compiled_and_not_verified_is_served_by_nobody(
    publish: Publish, gpu: list[FakeDevice], tmp_path: Path, trusted: Path
) -> None:
    publish(None)
    with pytest.raises(EngineMissing, match=f"never verified.*engines verify --model sprite-2 --variant {VARIANT}"):
        load(tmp_path, trusted)
    value = told("ls", "--variant", VARIANT)
    assert value["verified"] is False
    listed = RUN.invoke(app, ["ls", "--variant", VARIANT]).stdout
    assert f"not served: `longtake engines verify --variant {VARIANT}`" in " ".join(listed.split())
    explained = RUN.invoke(app, ["explain", "dit", "--variant", VARIANT])
    assert "compared with nothing yet" in explained.stdout
    sets = json.loads(RUN.invoke(app, ["ls", "--all", "-o", "json"]).stdout)
    assert [row["state"] for row in sets if row["variant"] == VARIANT] == [
        f"compiled, not verified: `verify --variant {VARIANT}` on sm89"
    ]
    assert gpu == []


def test_verified_where_the_gpu_is_they_are_published_and_served_there(
    publish: Publish, gpu: list[FakeDevice], tmp_path: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish(None)
    monkeypatch.setattr(build, "missing_packages", lambda: ["torch"])  # as on a machine that only serves
    value = told("verify", "--variant", VARIANT)
    assert value["ok"]
    assert value["published"]
    assert "manifest" in str(value["against"])
    assert load(tmp_path, trusted) == manifest.digest
    assert told("verify", "--variant", VARIANT)["published"] is False
    assert told("ls", "--variant", VARIANT)["verified"] is True
    monkeypatch.setenv("LONGTAKE_ENGINES__VARIANT", VARIANT)
    assert told("ls")["digest"] == manifest.digest
    monkeypatch.setattr(RTX, "here", lambda _: "sm120")
    with pytest.raises(EngineMissing, match=r"are for sm89, and this machine has sm120: .*engines\.variant"):
        load(tmp_path, trusted)


def test_the_kernels_of_each_engine_are_kept_where_weights_of_engines_lie(
    publish: Publish, gpu: list[FakeDevice], tmp_path: Path, trusted: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish(None)
    monkeypatch.setattr(build, "missing_packages", lambda: ["torch"])
    told("verify", "--variant", VARIANT)
    folder = home / ".longtake/engine-weights"
    for path in folder.iterdir():
        path.unlink()
    load(tmp_path, trusted)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{entry.sha256}.sm89-cuda13000-{VERSION}.kernels.kept" for entry in manifest.engines
    )
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_engines_that_compute_something_else_are_not_published(
    publish: Publish, gpu: list[FakeDevice], tmp_path: Path, trusted: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(skewed((bare / "vae_decoder_step.onnx").read_bytes()))
    monkeypatch.setattr(build, "missing_packages", lambda: ["torch"])
    value = told("verify", "--variant", VARIANT, code=1)
    assert not value["ok"]
    assert not value["published"]
    with pytest.raises(EngineMissing, match="never verified"):
        load(tmp_path, trusted)


def skewed(graph: bytes) -> bytes:
    """The same, its weights larger by a hundredth."""
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    return bytes(model.SerializeToString())


def test_without_the_gpu_nothing_is_verified(publish: Publish, no_gpu: None) -> None:
    publish(None)
    result = RUN.invoke(app, ["verify", "--variant", VARIANT])
    assert result.exit_code == 2
    assert "are for sm89, and this machine has no device that tensorrt_rtx runs on" in result.stderr


def test_a_signed_set_that_was_put_in_the_place_of_a_verified_one_is_refused(
    publish: Publish, gpu: list[FakeDevice], tmp_path: Path, trusted: Path
) -> None:
    manifest = publish(None)
    folder = tmp_path / "store" / "objects" / "engines" / "sprite-2" / manifest.set_name
    shutil.copy(folder / "compiled-1.json", folder / "manifest-1.json")
    with pytest.raises(EngineMissing, match="engines that were never verified"):
        load(tmp_path, trusted)


def test_a_set_of_one_gpu_in_the_folder_of_another_is_refused(
    publish: Publish, gpu: list[FakeDevice], tmp_path: Path, trusted: Path
) -> None:
    manifest = publish(None)
    folder = tmp_path / "store" / "objects" / "engines" / "sprite-2"
    other = layout.set_name(manifest.weights_digest, "tensorrt_rtx-sm120")
    shutil.copytree(folder / manifest.set_name, folder / other)

    async def read() -> None:
        async with opened(tmp_path, trusted) as (_, built):
            await built.manifest("sprite-2", other, verified=False)

    with pytest.raises(EngineCorrupt, match="in another's place"):
        asyncio.run(read())


def test_the_package_s_engines_are_served_beside_them(
    publish: Publish, no_gpu: None, tmp_path: Path, trusted: Path, bare: Path
) -> None:
    publish(None)
    shipped = Prebuilt(bare).manifest("sprite-2", None)
    assert shipped is not None
    assert load(tmp_path, trusted, "") == load(tmp_path, trusted, layout.USUAL) == shipped.digest
    with pytest.raises(EngineMissing, match="--runtime tensorrt --target sm90`"):
        load(tmp_path, trusted, "tensorrt-sm90")


def test_the_setting_decides_what_the_front_door_counts_on_and_a_start_asks_for(
    publish: Publish, no_gpu: None, tmp_path: Path, trusted: Path
) -> None:
    publish(None)
    settings = Settings(
        store=str(tmp_path / "store"),
        grpc=Grpc(address="127.0.0.1:0"),
        http=Http(address="127.0.0.1:0"),
        engines=Engines(variant=VARIANT, trusted_keys=trusted),
    )

    async def ask() -> None:
        async with opened(tmp_path, trusted) as (store, _):
            with pytest.raises(EngineMissing, match="never verified"):
                await catalog_of(settings, store)
            with pytest.raises(EngineMissing, match="never verified"):
                await check(settings)

    asyncio.run(ask())
    with pytest.raises(ValueError, match="variant"):
        Engines(variant="sm89")


def test_rm_removes_what_was_compiled_too(publish: Publish, no_gpu: None) -> None:
    publish(None)
    result = RUN.invoke(app, ["rm", "--variant", VARIANT])
    assert result.exit_code == 0, result.output
    assert RUN.invoke(app, ["ls", "--variant", VARIANT]).exit_code == 3
    assert RUN.invoke(app, ["rm", "--variant", VARIANT]).exit_code == 3


@rtx
@pytest.mark.timeout(900)  # exports and compiles, minutes on a busy machine
def test_a_user_without_a_gpu_compiles_for_two_and_publishes_both(
    home: Path, bare: Path, tmp_path: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    from engines.families.sprite import denoiser

    monkeypatch.setattr(denoiser, "BLOCKS", 1)  # the others would be exported and compiled as this one is
    untrained(tmp_path / "weights")
    small = replace(models.find("sprite"), weights=Folder(tmp_path / "weights"))
    monkeypatch.setattr(models, "find", lambda _: small)
    monkeypatch.setattr(RTX, "here", lambda _: None)
    arguments = ["build", "--runtime", "tensorrt_rtx", "--target", "sm89", "--target", "sm120"]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for device in ("sm89", "sm120"):
        assert f"--variant tensorrt_rtx-{device}` on a machine with {device}" in result.stdout
        value = told("ls", "--variant", f"tensorrt_rtx-{device}")
        assert value["verified"] is False
    again = RUN.invoke(app, [*arguments, "-o", "json"])
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert [(line["variant"], line["built"]) for line in lines] == [
        ("tensorrt_rtx-sm89", False),
        ("tensorrt_rtx-sm120", False),
    ]
    with pytest.raises(EngineMissing, match="never verified"):
        load(tmp_path, trusted)
