"""Whoever only looks at engines fetches no weights: `engines ls` and `explain`, `doctor`; what starts does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("onnx_ir", reason="a build needs longtake[build]")

from engines import key as keys
from engines import models
from engines.manifest import EngineEntry
from serving import engine_store
from serving.cli.main import build
from serving.settings import Engines
from serving.store.open import open_store
from tests.beside_engines import lower, machine, manifest_of, moved_out

RUN = CliRunner()


@pytest.fixture
def weights(bare: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights would come to lie, on a machine that serves engines with large ones from a store."""
    (bare / "manifest.json").unlink()
    lower(monkeypatch)
    monkeypatch.setenv("LONGTAKE_ENGINES__TRUSTED_KEYS", str(tmp_path / "builder" / "trusted"))
    monkeypatch.setenv("LONGTAKE_ENGINES__WEIGHTS_FOLDER", str(tmp_path / "weights"))
    model = models.find("sprite")

    async def publish() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        built = machine(store, tmp_path / "builder")
        assert built.weights_folder is not None
        graph, files = moved_out(built.weights_folder)
        [entry] = manifest_of(graph, files).engines
        entries = tuple(_named(entry, name, model.weights_digest() or "") for name in model.family.components)
        manifest = replace(
            manifest_of(graph, files), model=model.name, weights_digest=model.weights_digest() or "", engines=entries
        )
        await built.publish(manifest, dict.fromkeys(model.family.components, graph))
        await store.close()

    asyncio.run(publish())
    return tmp_path / "weights"


def _named(entry: EngineEntry, name: str, digest: str) -> EngineEntry:
    """The engine as another component of the sprite model."""
    component = replace(entry.spec.component, name=name)
    spec = replace(entry.spec, model="sprite-2", weights_digest=digest, component=component)
    key = keys.engine_key(
        spec,
        graph_digest=entry.graph_digest,
        runtime_version=entry.runtime_version,
        weights=[file.sha256 for file in entry.weights],
    )
    return replace(entry, spec=spec, key=key)


@pytest.mark.parametrize("words", [["engines", "ls"], ["engines", "explain", "dit"], ["models", "ls"]], ids=" ".join)
def test_a_command_that_looks_fetches_no_weights(weights: Path, words: list[str]) -> None:
    result = RUN.invoke(build(), words)
    assert result.exit_code == 0, result.output
    assert not weights.exists()


def test_doctor_fetches_no_weights_and_says_so(weights: Path) -> None:
    found = json.loads(RUN.invoke(build(), ["doctor", "-o", "json"]).stdout)
    [engines] = [finding for finding in found if finding["what"] == "engines"]
    assert engines["verdict"] == "ok", engines
    assert "weights beside them are in the store, and checked when they are loaded" in engines["detail"]
    assert not weights.exists()


def test_weights_that_are_not_there_are_told_by_a_look(weights: Path, tmp_path: Path) -> None:
    largest = max((tmp_path / "store/objects/engines/blobs").iterdir(), key=lambda path: path.stat().st_size)
    largest.unlink()
    result = RUN.invoke(build(), ["engines", "ls"])
    assert result.exit_code == 1, result.output
    assert "no weights of engine" in result.stderr


def test_a_start_fetches_them(weights: Path, tmp_path: Path) -> None:
    settings = Engines(trusted_keys=tmp_path / "builder" / "trusted", weights_folder=weights)

    async def check(*, fetch: bool) -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        try:
            await engine_store.check("sprite", store, settings, fetch=fetch)
        finally:
            await store.close()

    asyncio.run(check(fetch=False))
    assert not weights.exists()
    asyncio.run(check(fetch=True))
    assert weights.exists()


def test_ls_tells_of_the_variant_that_is_served(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [row] = json.loads(RUN.invoke(build(), ["models", "ls", "-o", "json"]).stdout)
    assert row["digest"]
    monkeypatch.setenv("LONGTAKE_ENGINES__VARIANT", "tensorrt_rtx-sm89")
    [row] = json.loads(RUN.invoke(build(), ["models", "ls", "-o", "json"]).stdout)
    assert (row["digest"], row["problem"]) == (None, "")
