"""A short campaign, in which every blow falls once: the full one is `python -m loadtests.kills`."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from random import Random

import pytest

from loadtests.kills.__main__ import main
from loadtests.kills.victims import EVERY, strikes

SEED, STRIKES = 52, 9
TOLD_LINES = 60


@pytest.mark.timeout(900)
def test_nothing_is_lost_though_every_kind_of_process_is_killed_or_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(chain.from_iterable(islice(strikes(Random(SEED)), STRIKES))) == set(EVERY)

    code = main(["--blows", str(STRIKES), "--seed", str(SEED), "--logs", str(tmp_path)])
    assert code == 0, capsys.readouterr().out + _end_of(tmp_path / "ray.log")


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(["", f"the last of {log.name}:", *lines[-TOLD_LINES:]])
