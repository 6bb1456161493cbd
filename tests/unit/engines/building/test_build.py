"""A build makes engines that load, verifies them against torch, and says what it lacks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engines import models
from engines.building import build
from engines.checkpoints.files import Folder
from engines.errors import EngineNotBuilt
from engines.key import digest_of
from engines.session import Session, open_found
from engines.store import EngineStore, Prebuilt


def test_without_torch_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "missing_packages", lambda: ["torch", "onnxscript"])
    with pytest.raises(EngineNotBuilt, match=r"needs torch, onnxscript: pip install 'longtake\[build\]'"):
        asyncio.run(build.build(models.find("sprite"), Prebuilt(tmp_path)))


def test_without_weights_the_folder_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    with pytest.raises(EngineNotBuilt, match="no weights"):
        asyncio.run(build.build(models.find("sprite"), Prebuilt(tmp_path), weights=Folder(tmp_path)))


def test_engines_built_from_untrained_weights_verify_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="a build needs longtake[build]")
    from engines.families.sprite import dit

    monkeypatch.setattr(dit, "BLOCKS", 2)  # the others would be exported as this one is
    weights = tmp_path / "weights"
    _untrained(weights, torch)
    target, steps = Prebuilt(tmp_path / "prebuilt"), []
    model = models.find("sprite")
    manifest = asyncio.run(
        build.build(
            model, target, weights=Folder(weights), progress=lambda what, done, total: steps.append((what, done, total))
        )
    )
    assert [done for _, done, _ in steps] == list(range(len(steps)))
    assert steps[-1] == ("done", len(steps) - 1, len(steps) - 1)
    assert manifest.weights_digest == models.digest_of_weights(Folder(weights))
    found = asyncio.run(EngineStore(target).find("sprite-1", manifest.weights_digest))
    session: Session = asyncio.run(open_found(model.family, found, threads=1))
    with session:
        assert model.family.encode_text(session, "a red circle moves left").shape == (14, 128)
    for entry in manifest.engines:
        assert entry.sha256 == digest_of(target.read(entry))


def _untrained(folder: Path, torch: object) -> None:
    from safetensors.torch import save_file

    from engines.families.sprite import captions
    from engines.families.sprite.dit import Dit, TextTable
    from engines.families.sprite.vae import Vae

    torch.manual_seed(0)  # type: ignore[attr-defined]
    folder.mkdir()
    text, dit = TextTable(len(captions.VOCAB)), Dit()
    save_file({name: value.half() for name, value in Vae().state_dict().items()}, folder / "vae.safetensors")
    parts = {
        **{f"text.{name}": value.half() for name, value in text.state_dict().items()},
        **{f"dit.{name}": value.half() for name, value in dit.state_dict().items()},
    }
    save_file(parts, folder / "dit.safetensors")
