"""A short campaign: the full one is `python -m loadtests.kills`."""

from __future__ import annotations

import pytest

from loadtests.kills.__main__ import main


@pytest.mark.timeout(600)
def test_nothing_is_lost_though_twenty_processes_are_killed_or_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--blows", "20", "--seed", "3"])
    assert code == 0, capsys.readouterr().out
