"""An installation that a test may damage, and one whose engines lie in a store."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engines import models
from engines.manifest import Manifest
from engines.store import Prebuilt
from engines.trust import TrustedKeys, own_key
from serving import engine_store
from serving.settings import Engines
from serving.store.open import open_store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where keys lie, and a store that the settings name, as `longtake up` makes it."""
    asyncio.run(_made(str(tmp_path / "store")))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LONGTAKE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("LONGTAKE_CONFIG", raising=False)
    return tmp_path / "home"


async def _made(url: str) -> None:
    await (await open_store(url, probe=False)).close()


@pytest.fixture
def bare(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose prebuilt folder is a copy that a test may damage."""
    folder = tmp_path / "prebuilt"
    shutil.copytree(models.find("sprite").prebuilt, folder)
    _installed(folder, monkeypatch)
    return folder


@pytest.fixture
def stored(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """The shipped engines, built into the store and signed here; the package has none."""
    package = Prebuilt(models.find("sprite").prebuilt)
    manifest = package.manifest("sprite-2", None)
    assert manifest is not None

    async def publish() -> None:
        trusted, keys = TrustedKeys(home / ".longtake/engine-keys/trusted"), home / ".longtake/engine-keys"
        store = await open_store(str(tmp_path / "store"), probe=False)
        built = engine_store.built(store, Engines(trusted_keys=trusted.path), key=own_key(keys / "key.pem", trusted))
        await built.publish(manifest, {entry.component: package.read(entry) for entry in manifest.engines})
        await store.close()

    asyncio.run(publish())
    _installed(tmp_path / "none", monkeypatch)
    return manifest


def _installed(prebuilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model, with its engines there."""
    model = replace(models.find("sprite"), prebuilt=prebuilt)
    find: Callable[[str], models.Model] = models.find

    def found(name: str) -> models.Model:
        find(name)  # raises for those that are not known
        return model

    monkeypatch.setattr(models, "find", found)
    monkeypatch.setattr(models, "all_models", lambda: (model,))
