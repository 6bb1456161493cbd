"""A store of a mistyped name is told, and not made, by every command that brings nothing into one."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli.main import build
from serving.cli.stores import opened_store
from serving.logs import logger

RUN = CliRunner()
COMMANDS = [
    "models ls",
    "models show sprite",
    "models score",
    "models rm wan",
    "engines ls",
    "engines ls --all",
    "engines explain dit",
    "engines verify",
    "engines sign",
    "engines rm",
    "gc",
    "gc --dry-run",
    "scrub",
    "reproduce vid_a",
    "jobs drain",
]


@pytest.fixture
def mistyped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LONGTAKE_STORE", raising=False)
    monkeypatch.delenv("LONGTAKE_CONFIG", raising=False)
    return tmp_path / "mistyped"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_that_is_not_there_is_told_and_not_made(mistyped: Path, command: str) -> None:
    done = RUN.invoke(build(), [*command.split(), "--store", str(mistyped)])
    assert done.exit_code == 2, done.output
    assert f"store dir://{mistyped} is not there; is the name mistyped? `longtake up` makes" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not mistyped.exists()


def test_a_folder_of_something_else_is_no_store_and_stays_as_it_is(mistyped: Path) -> None:
    (mistyped / "holidays").mkdir(parents=True)
    done = RUN.invoke(build(), ["models", "ls"], env={"LONGTAKE_STORE": str(mistyped)})
    assert (done.exit_code, f"{mistyped} holds no store" in done.stderr) == (2, True)
    assert [path.name for path in mistyped.iterdir()] == ["holidays"]


def test_the_doctor_notes_a_store_that_is_still_to_be_made(mistyped: Path) -> None:
    done = RUN.invoke(build(), ["doctor", "--store", str(mistyped)])
    assert f"note  store      store dir://{mistyped} is not there" in done.stdout
    assert not mistyped.exists()


def test_before_anything_was_made_the_models_that_ship_are_listed(mistyped: Path) -> None:
    assert "sprite-2" in RUN.invoke(build(), ["models", "ls"]).stdout


@pytest.mark.anyio
async def test_what_a_room_logs_meanwhile_is_not_in_what_a_script_reads(
    mistyped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened_store(str(mistyped), make=True):
        logger("collector").error("a tenant cannot be collected")
        logger("director").info("director started")
    said = capsys.readouterr()
    assert (said.out, "cannot be collected" in said.err, "started" in said.err) == ("", True, False)
