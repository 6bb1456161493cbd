"""How far a build is, where no terminal shows a bar: lines, and not too many of them."""

from __future__ import annotations

import pytest

from engines.checkpoints.files import amount
from serving.cli.engine_build import Lines, progress_bar, reading


def test_each_step_is_a_line_and_each_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    show = Lines(lambda: now[0])
    for seconds, what, done in (
        (0.0, "reading a: 0.0 of 2.0 GB", 0),
        (4.0, "reading a: 0.5 of 2.0 GB", 25),
        (11.0, "reading a: 1.0 of 2.0 GB", 50),
        (12.0, "reading b: 1.5 of 2.0 GB", 75),
        (13.0, "done", 100),
    ):
        now[0] = seconds
        show(what, done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "  0 %  reading a: 0.0 of 2.0 GB",
        " 50 %  reading a: 1.0 of 2.0 GB",
        " 75 %  reading b: 1.5 of 2.0 GB",
        "100 %  done",
    ]


def test_bytes_are_told_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(quiet=False) as show:  # no terminal here
        reading(show)("vae/x.safetensors", 1_200_000_000, 28_400_000_000)
    assert capsys.readouterr().err == "  4 %  reading vae/x.safetensors: 1.2 of 28.4 GB\n"
    assert amount(500_000, 2_000_000) == "0.5 of 2.0 MB"


def test_nothing_is_told_where_json_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(quiet=True) as show:
        show("reading", 1, 2)
    assert capsys.readouterr().err == ""
