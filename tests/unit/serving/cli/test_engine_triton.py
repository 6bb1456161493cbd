"""`longtake engines triton-repo` writes what a server loads, and `engines.triton` names the server that is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines import models
from engines.manifest import Manifest
from serving.cli.engines import app
from tests.servers import free_port

RUN = CliRunner()


def test_a_models_engines_are_written_and_named(bare: Path, tmp_path: Path) -> None:
    result = RUN.invoke(app, ["triton-repo", "--model", "sprite", "--out", str(tmp_path / "models"), "-o", "json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert (value["model"], value["digest"]) == ("sprite-2", models.find("sprite").digest())
    assert set(value["models"]) == {path.name for path in (tmp_path / "models").iterdir()}
    again = RUN.invoke(app, ["triton-repo", "--out", str(tmp_path / "models")])
    assert again.exit_code == 0, again.output
    assert all(name in again.stdout for name in value["models"])


def test_engines_that_were_built_into_a_store_are_written_too(stored: Manifest, tmp_path: Path) -> None:
    result = RUN.invoke(app, ["triton-repo", "--variant", "onnxruntime-cpu", "--out", str(tmp_path / "models")])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "models").glob(f"*-{stored.digest[:12]}-*/1/model.onnx"))) == len(stored.engines)


def test_a_folder_of_something_else_is_one_line(bare: Path) -> None:
    result = RUN.invoke(app, ["triton-repo", "--out", str(bare)])
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: --out {bare}: there is something else: name a folder that is not there yet, or remove it\n"
    )


def test_a_variant_that_is_not_there_names_the_command_that_builds_it(bare: Path, tmp_path: Path) -> None:
    result = RUN.invoke(app, ["triton-repo", "--variant", "tensorrt-sm90", "--out", str(tmp_path / "models")])
    assert result.exit_code == 3
    assert "longtake engines build --model sprite-2 --runtime tensorrt --target sm90" in result.stderr


@pytest.mark.parametrize("command", ["triton-repo --out new", "ls", "explain dit", "verify", "report", "rm"])
@pytest.mark.parametrize("variant", ["nope", "a/../b-c", "ONNX-cpu", "-"])
def test_what_is_no_variant_is_one_line_for_every_command(bare: Path, command: str, variant: str) -> None:
    result = RUN.invoke(app, [*command.split(), f"--variant={variant}"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --variant {variant}: a runtime, a device, and a precision")
    assert result.stderr.count("\n") == 1


def test_verify_asks_the_server_that_the_setting_names(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_ENGINES__TRITON", f"127.0.0.1:{free_port()}")
    result = RUN.invoke(app, ["verify"])
    assert result.exit_code == 4
    assert "is not there" in result.stderr
    assert "or change `engines.triton`" in result.stderr
