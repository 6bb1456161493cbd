"""A short campaign, in which every blow falls once: the full one is `python -m loadtests.kills`."""

from __future__ import annotations

from itertools import chain, islice
from random import Random

import pytest

from loadtests.kills.__main__ import main
from loadtests.kills.victims import EVERY, strikes

SEED, STRIKES = 52, 9


@pytest.mark.timeout(600)
def test_nothing_is_lost_though_every_kind_of_process_is_killed_or_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(chain.from_iterable(islice(strikes(Random(SEED)), STRIKES))) == set(EVERY)

    code = main(["--blows", str(STRIKES), "--seed", str(SEED)])
    assert code == 0, capsys.readouterr().out
