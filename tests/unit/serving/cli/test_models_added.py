"""`longtake models add`, `rm`, `ls` and `show` where something is wrong: a line, an exit code, and nothing left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines import models
from engines import objects as layout
from engines.added import Added
from engines.adding import record
from engines.building.parity import Levels
from engines.building.step_cost import Cost
from engines.checkpoints.files import Folder
from engines.families.buildable import Sizes
from serving.cli import models_step_cache
from serving.cli.engines import app as engines
from serving.cli.models import app
from tests.unit.engines.families.wan.checkpoints import save

RUN = CliRunner()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGTAKE_STORE", str(tmp_path / "store"))
    (tmp_path / "store" / "objects").mkdir(parents=True)
    return tmp_path / "store"


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[[str], Path]:
    for package in ("torch", "diffusers", "transformers", "tokenizers"):
        pytest.importorskip(package, reason="checkpoints of tests are made with longtake[build]")

    def make(task: str) -> Path:
        save(task, tmp_path / task)
        return tmp_path / task

    return make


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "sprite", "--from", "."], "'sprite' is a model of the package"),
        (["add", "wan", "--from", "no-such-folder"], "no-such-folder: no such folder"),
        (["add", "wan", "--from", "."], "model_index.json"),
        (["add", "Wan 2", "--from", "."], "name: 'Wan 2'"),
        (["add", "wan", "--from", ".", "--canvas", "wide"], "like 16:9=832x480"),
        (["rm", "wan"], "'wan' was not added; there is none"),
        (["step-cache", "sprite", "0.05"], "'sprite' computes every step"),
        (["step-cache", "wan", "1"], "threshold: 1; below 1"),
        (["step-cache", "wan", "0"], "'wan' was not added; there is none"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    arguments: list[str], told: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert told in result.stderr.splitlines()[-1]
    assert not list(store.rglob("record.json"))


def test_a_model_that_is_not_there_is_named_as_it_was_given(store: Path) -> None:
    result = RUN.invoke(app, ["show", "wan"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: model 'wan' is not known; there is sprite-2")


def test_whether_a_first_frame_is_needed_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    family = models.find("sprite").family
    for text, said in ((True, "may be given"), (False, "required: it makes no video of text alone")):
        monkeypatch.setattr(family, "capabilities", replace(family.capabilities, text=text), raising=False)
        assert f"first frame      {said}\n" in RUN.invoke(app, ["show", "sprite"]).stdout


def test_a_record_that_is_damaged_hides_no_other_model(store: Path) -> None:
    place = store / "objects" / layout.model_key("odd")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{}")
    result = RUN.invoke(app, ["ls"])
    assert result.exit_code == 0, result.output
    assert "sprite-2" in result.stdout
    assert "models/odd/record.json" in result.stdout


def test_one_that_is_not_there_may_be_removed_by_force() -> None:
    result = RUN.invoke(app, ["rm", "wan", "--force"])
    assert (result.exit_code, result.stdout) == (0, "there is no wan\n"), result.output


def test_engines_that_wait_for_their_model_are_told_and_go_by_force(store: Path) -> None:
    """As an interrupted `models add` leaves them: it registers the model last."""
    place = store / "objects" / layout.compiled_key("wan", "w1")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{}")
    kept = RUN.invoke(app, ["rm", "wan"])
    assert kept.exit_code == 2, kept.output
    assert "'wan' was not added; there is none; its engines are kept for the next time" in kept.stderr
    removed = RUN.invoke(app, ["rm", "wan", "--force"])
    assert (removed.exit_code, removed.stdout) == (0, "removed the engines of wan, which was not added\n")
    again = RUN.invoke(app, ["rm", "wan", "--force"])
    assert (again.exit_code, again.stdout) == (0, "there is no wan\n")
    assert "engines" not in RUN.invoke(app, ["rm", "wan"]).stderr


def test_engines_of_an_added_model_are_built_again_only_where_somebody_trusted_built_some(
    store: Path, make_checkpoint: Callable[[str], Path]
) -> None:
    """Whoever writes to the store may write a record, and have an operator build and sign what he likes."""
    folder = make_checkpoint("text")
    made, kept = record(
        Folder(folder), name="wan-tiny", source=str(folder), sizes=Sizes(), added_ms=1, progress=lambda *_: None
    )
    place = store / "objects" / "models" / "wan-tiny"
    place.mkdir(parents=True)
    (place / "record.json").write_bytes(made.to_json())
    (place / f"files-{made.kept}").write_bytes(kept)
    result = RUN.invoke(engines, ["build", "--model", "wan-tiny"])
    assert result.exit_code == 3, result.output
    assert "no engines of model wan-tiny" in result.stderr


@pytest.mark.parametrize(
    ("decibels", "options", "rc", "threshold"),
    [
        (24.0, [], 1, 0.0),
        (24.0, ["--force"], 0, 0.05),
        (26.0, [], 0, 0.05),
        (26.0, ["--measure"], 0, 0.0),
    ],
    ids=["too far", "forced", "near", "measured alone"],
)
def test_a_step_cache_is_set_where_videos_stay_near_and_the_command_says_how_near(
    store: Path,
    make_checkpoint: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    decibels: float,
    options: list[str],
    rc: int,
    threshold: float,
) -> None:
    """The two runs are a stand-in's; `building/test_step_cost.py` has real ones."""

    async def measured(*_: object, **__: object) -> list[Cost]:
        return [Cost("a cat", 50, 21, (300.0, 180.0), decibels, Levels(90.0, 4.5))]

    monkeypatch.setattr(models_step_cache, "_measured", measured)
    folder = make_checkpoint("text")
    made, kept = record(
        Folder(folder), name="wan-tiny", source=str(folder), sizes=Sizes(), added_ms=1, progress=lambda *_: None
    )
    place = store / "objects" / "models" / "wan-tiny"
    place.mkdir(parents=True)
    (place / "record.json").write_bytes(made.to_json())
    (place / f"files-{made.kept}").write_bytes(kept)
    result = RUN.invoke(app, ["step-cache", "wan-tiny", "0.05", *options])
    assert result.exit_code == rc, result.output
    assert f"a cat: 21 of 50 steps reused; 300.0 s of denoising became 180.0 s; {decibels:.1f} dB" in result.stdout
    assert ("error: 'a cat': 24.0 dB" in result.stderr) is (decibels < 25)
    there = Added.from_json((place / "record.json").read_bytes(), name="wan-tiny")
    assert there.step_cache == threshold
