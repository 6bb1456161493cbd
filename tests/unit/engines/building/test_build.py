"""A build makes engines that load, verifies them against torch, and says what it lacks."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from engines import models
from engines.building import build
from engines.checkpoints.files import Folder
from engines.errors import EngineNotBuilt, EngineUnfit
from engines.key import digest_of
from engines.manifest import Manifest
from engines.runtimes.base import Source, Tell
from engines.runtimes.registry import SHIPPED
from engines.runtimes.tensorrt.runtime import TensorRtRtx
from engines.session import Session, open_found
from engines.spec import EngineSpec
from engines.store import EngineStore, Prebuilt
from engines.weights import WeightsFolder
from serving.store.directory import DirectoryStore
from tests.unit.engines.building.untrained import untrained


def test_without_torch_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "missing_packages", lambda: ["torch", "onnxscript"])
    with pytest.raises(EngineNotBuilt, match=r"needs torch, onnxscript: pip install 'longtake\[build\]'"):
        asyncio.run(build.build(models.find("sprite"), Prebuilt(tmp_path)))


def test_without_weights_the_folder_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    with pytest.raises(EngineNotBuilt, match="no weights"):
        asyncio.run(build.build(models.find("sprite"), Prebuilt(tmp_path), weights=Folder(tmp_path)))


@pytest.mark.parametrize(("here", "targets"), [(None, ["sm89"]), ("sm89", ["sm120"]), ("sm89", ["sm89", "sm120"])])
def test_the_package_takes_no_engines_that_cannot_be_verified_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str | None, targets: list[str]
) -> None:
    runtime = SHIPPED.find("tensorrt_rtx")
    monkeypatch.setattr(type(runtime), "here", lambda _: here)
    with pytest.raises(EngineUnfit, match=r"takes one set, and that verified: here it cannot be for .*sm.*verify"):
        asyncio.run(build.build(models.find("sprite"), Prebuilt(tmp_path), runtime=runtime, targets=targets))


def test_a_runtime_that_is_not_installed_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    runtime = SHIPPED.find("tensorrt_rtx")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setattr(type(runtime), "here", lambda _: "sm89")
    with pytest.raises(EngineNotBuilt, match="tensorrt_rtx is not installed: pip install 'tensorrt-rtx'"):
        asyncio.run(build.build(models.find("sprite"), Prebuilt(tmp_path), runtime=runtime))


def test_engines_built_from_untrained_weights_verify_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    from engines.families.sprite import denoiser

    monkeypatch.setattr(denoiser, "BLOCKS", 2)  # the others would be exported as this one is
    weights = tmp_path / "weights"
    untrained(weights)
    target, steps = Prebuilt(tmp_path / "prebuilt"), []
    model = models.find("sprite")
    [manifest] = asyncio.run(
        build.build(
            model, target, weights=Folder(weights), progress=lambda what, done, total: steps.append((what, done, total))
        )
    )
    begun = [step for step in steps if ": " not in step[0]]  # and not how far the reading is
    assert [done for _, done, _ in begun] == list(range(len(begun)))
    assert begun[-1] == ("done", len(begun) - 1, len(begun) - 1)
    assert manifest.weights_digest == models.digest_of_weights(Folder(weights))
    found = asyncio.run(EngineStore(target).find("sprite-2", manifest.weights_digest))
    session: Session = asyncio.run(open_found(model.family, found, threads=1))
    with session:
        assert model.family.encode_still(session, np.zeros((80, 80, 3), np.uint8)).shape == (16, 10, 10)
    for entry in manifest.engines:
        assert entry.sha256 == digest_of(target.read(entry))


@pytest.fixture
def with_large_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose decoder has weights that count as large."""
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    from engines.building import beside
    from engines.families.sprite import denoiser

    monkeypatch.setattr(denoiser, "BLOCKS", 1)
    monkeypatch.setattr(beside, "BESIDE_FROM", 2 << 20)
    untrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.slow
def test_a_build_into_a_store_has_many_weights_beside_its_engines(tmp_path: Path, with_large_weights: Path) -> None:
    from tests.beside_engines import machine

    model = models.find("sprite")

    async def build_and_load() -> Session:
        store = DirectoryStore(tmp_path / "store")
        await store.open()
        builder = machine(store, tmp_path / "builder")
        server = machine(store, tmp_path / "server", tmp_path / "builder")
        [manifest] = await build.build(model, builder, weights=Folder(with_large_weights))
        sizes = {entry.component: (entry.size, entry.bytes_in_all) for entry in manifest.engines}
        assert sizes["vae_encoder"][0] == sizes["vae_encoder"][1]
        assert 2 * sizes["vae_decoder_step"][0] < sizes["vae_decoder_step"][1]
        found = await EngineStore(built=server).find("sprite-2", manifest.weights_digest)
        return await open_found(model.family, found, threads=1)

    with asyncio.run(build_and_load()) as session:
        assert model.family.encode_still(session, np.zeros((80, 80, 3), np.uint8)).shape == (16, 10, 10)
        assert list(session.runners) == list(model.family.components)


class Reader(TensorRtRtx):
    """Implements `Runtime` without its package; its plans say what weights lay beside their graphs."""

    def version(self) -> str:
        return "1.7.1"

    def compile(self, source: Source, spec: EngineSpec, tell: Tell) -> bytes:
        tell("reading")
        weights = source.weights
        if weights is None:
            return f"{spec.component.name} alone".encode()
        assert all(WeightsFolder(weights.folder).intact(file) for file in weights.files)
        return f"{spec.component.name} and {sum(file.size for file in weights.files)} bytes".encode()


@pytest.mark.slow
def test_engines_that_have_all_within_are_compiled_from_weights_beside_their_graphs(
    tmp_path: Path, with_large_weights: Path
) -> None:
    from tests.beside_engines import machine

    async def built() -> tuple[Manifest, dict[str, bytes]]:
        store = DirectoryStore(tmp_path / "store")
        await store.open()
        builder = machine(store, tmp_path / "builder")
        weights = Folder(with_large_weights)
        [made] = await build.build(models.find("sprite"), builder, weights=weights, runtime=Reader(), targets=["sm89"])
        found = await builder.manifest(made.model, made.set_name, verified=False)
        assert found is not None
        return found, {entry.component: await builder.read(entry) for entry in found.engines}

    manifest, engines = asyncio.run(built())
    assert not manifest.verified
    assert [entry.weights for entry in manifest.engines] == [()] * len(engines)
    assert engines["vae_encoder"] == b"vae_encoder alone"
    assert re.fullmatch(rb"vae_decoder_step and \d{7} bytes", engines["vae_decoder_step"])
