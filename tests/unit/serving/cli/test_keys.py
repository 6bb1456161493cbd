"""`longtake keys` says what is wrong as every command does: one line that begins with `error:`, and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli.keys import app


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("add", "a\nb"), 2, "error: --name"),
        (("add", "laptop", "--tenant", "no tenant!"), 2, "error: --tenant"),
        (("rm", "key-1"), 3, "error: no key 'key-1'"),
    ],
)
def test_what_is_wrong_is_one_line_of_errors(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    file = tmp_path / "keys.jsonl"
    assert CliRunner().invoke(app, ["add", "first", "--file", str(file)]).exit_code == 0
    before = file.read_bytes()
    found = CliRunner().invoke(app, [*arguments, "--file", str(file)])
    assert (found.exit_code, found.stderr.startswith(said)) == (code, True), found.stderr
    assert found.stderr.count("\n") == 1
    assert file.read_bytes() == before


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["ls", "--file", str(tmp_path / "none.jsonl")])
    assert found.exit_code == 2
    assert found.stderr.startswith("error: ")
