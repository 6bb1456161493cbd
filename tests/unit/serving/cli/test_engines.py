"""`longtake engines` and `longtake models`, as a user sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines import models
from engines.building import build
from engines.families.sprite.family import SpriteFamily
from serving.cli.engines import app as engines_app
from serving.cli.models import app as models_app

RUN = CliRunner()


def test_ls_shows_each_engine_with_its_digest_checked(bare: Path) -> None:
    result = RUN.invoke(engines_app, ["ls", "-o", "json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["layer"] == "prebuilt"
    assert value["digest"] == models.find("sprite").digest()
    assert {row["component"] for row in value["engines"]} == set(models.family("sprite").components)
    assert all(row["intact"] and row["parity"] < 1e-3 for row in value["engines"])
    assert "intact" in RUN.invoke(engines_app, ["ls"]).stdout


def test_ls_names_an_engine_that_was_changed_and_fails(bare: Path) -> None:
    (bare / "dit.onnx").write_bytes(b"not an engine")
    result = RUN.invoke(engines_app, ["ls"])
    assert result.exit_code == 1
    assert "dit.onnx" in result.stderr
    assert "--into prebuilt" in result.stderr


def test_without_engines_the_command_that_builds_them_is_named(bare: Path) -> None:
    (bare / "manifest.json").unlink()
    result = RUN.invoke(engines_app, ["ls"])
    assert result.exit_code == 3
    assert "longtake engines build --model sprite-2" in result.stderr


def test_build_has_nothing_to_do_where_the_engines_are_there(bare: Path) -> None:
    result = RUN.invoke(engines_app, ["build", "-o", "json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["built"] is False


def test_build_without_torch_is_refused_with_the_command(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "manifest.json").unlink()
    monkeypatch.setattr(build, "missing_packages", lambda: ["torch"])
    result = RUN.invoke(engines_app, ["build"])
    assert result.exit_code == 3
    assert "pip install 'longtake[build]'" in result.stderr


def test_verify_without_torch_compares_with_what_torch_answered(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "missing_packages", lambda: ["torch"])
    result = RUN.invoke(engines_app, ["verify", "-o", "json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["ok"]
    assert "manifest" in value["against"]


def test_an_unknown_model_is_one_clear_line() -> None:
    for app, arguments in ((engines_app, ["ls", "--model", "giant"]), (models_app, ["show", "giant"])):
        result = RUN.invoke(app, arguments)
        assert result.exit_code == 3
        assert result.stderr.startswith("error: model 'giant' is not known; there is sprite-2")


def test_models_are_listed_and_shown() -> None:
    [row] = json.loads(RUN.invoke(models_app, ["ls", "-o", "json"]).stdout)
    assert row["model"] == "sprite-2"
    assert row["canvases"][0] == {"aspect_ratio": "16:9", "height": 80, "width": 144}
    assert row["digest"] == models.find("sprite").digest()
    text = RUN.invoke(models_app, ["show"]).stdout
    assert "16:9 (144x80)" in text
    assert "1 to 15, 8 by default" in text


def test_score_prints_a_table_of_what_it_measured() -> None:
    arguments = ["score", "--cases", "1", "--steps", "1"]
    result = RUN.invoke(models_app, arguments)
    assert result.exit_code == 0, result.output
    assert "| scenery given, back after 1, stable | 12 |" in result.stdout
    assert models.find("sprite").digest()[:12] in result.stdout


def test_a_model_whose_family_has_no_judge_is_refused(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SpriteFamily, "score")
    result = RUN.invoke(models_app, ["score"])
    assert result.exit_code == 2
    assert "sprite-2 cannot be scored" in result.stderr


def test_a_table_that_the_model_does_not_have_is_refused() -> None:
    result = RUN.invoke(models_app, ["score", "--table", "fame"])
    assert result.exit_code == 2
    assert "sprite-2 has quick, directed, memory, waiting, long" in result.stderr


def test_steps_that_the_model_does_not_take_are_refused() -> None:
    result = RUN.invoke(models_app, ["score", "--steps", "51"])
    assert result.exit_code == 2
    assert "takes 1 to 50" in result.stderr


def test_a_runtime_that_is_not_known_names_those_that_are(bare: Path) -> None:
    result = RUN.invoke(engines_app, ["build", "--runtime", "abacus"])
    assert result.exit_code == 2
    assert "there is onnxruntime" in result.stderr


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_page_that_cannot_be_written_is_known_before_anything_is_compared(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = RUN.invoke(engines_app, [command, "--model", "nope", "--html", str(tmp_path / "file/page.html")])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: nothing can be saved in {tmp_path}/file: ")
