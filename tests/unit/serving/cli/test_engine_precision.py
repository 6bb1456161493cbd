"""Engines in half: built, compared, published with a report that can be looked at, or refused at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engines import models
from engines import objects as layout
from engines.checkpoints.files import Folder
from engines.key import digest_of
from serving import engine_store
from serving.cli.engines import app
from serving.settings import Engines
from serving.store.open import open_store
from tests.unit.engines.building.untrained import untrained

RUN = CliRunner()
VARIANT = "onnxruntime-cpu-dit.fp16-vae_encoder.fp16"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model of the commands has weights of its own, untrained, of which one layer is exported; their folder."""
    pytest.importorskip("torch", reason="a build needs longtake[build]")
    from engines.families.sprite import denoiser

    monkeypatch.setattr(denoiser, "BLOCKS", 1)  # the others would be exported as this one is
    untrained(tmp_path / "weights")
    model = replace(models.find("sprite"), weights=Folder(tmp_path / "weights"))
    monkeypatch.setattr(models, "find", lambda _: model)
    return tmp_path / "weights"


@pytest.mark.timeout(900)  # exports, minutes on a busy machine
def test_components_in_half_are_compared_published_and_shown(
    home: Path, bare: Path, tmp_path: Path, small: Path
) -> None:
    result = RUN.invoke(app, ["build", "--precision", "dit=fp16,vae_encoder=fp16"])
    assert result.exit_code == 0, result.output
    [row] = json.loads(RUN.invoke(app, ["ls", "--all", "-o", "json"]).stdout)[-1:]
    assert row["variant"] == VARIANT
    shown = RUN.invoke(app, ["report", "--variant", VARIANT, "--html", str(tmp_path / "page.html"), "-o", "json"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert told["ok"]
    assert told["against"] == "torch"
    asked = {(one["component"], one["precision"], one["batch"]) for one in told["components"]}
    assert asked >= {("dit", "float16", batch) for batch in (1, 2, 64)}
    assert asked >= {("vae_decoder_step", "float32", batch) for batch in (1, 2, 64)}
    halves = [one["largest"] for one in told["components"] if one["component"] == "vae_encoder"]
    assert min(halves) > 1e-5, "half was not computed in half"  # of the denoiser, untrained, all is 0
    page = (tmp_path / "page.html").read_bytes()
    assert page.count(b"data:image/png") >= 12
    assert told["report"] == layout.blob_key(digest_of(page))
    explained = RUN.invoke(app, ["explain", "dit", "--variant", VARIANT]).stdout
    assert "float16" in explained
    assert "64 rows" in explained

    async def load() -> None:
        store = await open_store(str(tmp_path / "store"), probe=False)
        engines = Engines(trusted_keys=home / ".longtake/engine-keys/trusted", variant=VARIANT)
        with await engine_store.load("sprite", store, engines, threads=1) as session:
            assert models.find("sprite").family.encode_still(session, np.zeros((80, 80, 3), np.uint8)).shape == (
                16,
                10,
                10,
            )
        await store.close()

    asyncio.run(load())


@pytest.mark.parametrize(
    ("asked", "code", "told"),
    [
        (["--precision", "bf16"], 1, "vae_encoder in bfloat16 for onnxruntime-cpu: ONNX Runtime has no kernels"),
        (["--precision", "unet=fp16"], 2, "no component 'unet'; there is vae_encoder"),
        (["--precision", "half"], 2, "'half' is none; there is fp32, bf16, fp16"),
        (["--precision", "fp16", "--into", "prebuilt"], 2, "--precision goes with --into store"),
        (
            ["--precision", "dit=bf16", "--runtime", "tensorrt_rtx", "--target", "sm75"],
            1,
            "dit in bfloat16 for tensorrt_rtx-sm75: sm75 has no bfloat16: take fp16",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_read(
    home: Path, bare: Path, asked: list[str], code: int, told: str
) -> None:
    result = RUN.invoke(app, ["build", *asked])
    assert result.exit_code == code, result.output
    assert told in " ".join(result.stderr.split())


def test_without_a_report_the_command_that_compares_is_named(home: Path) -> None:
    result = RUN.invoke(app, ["report"])
    assert result.exit_code == 3
    assert "`longtake engines verify` compares them anew" in " ".join(result.stderr.split())
