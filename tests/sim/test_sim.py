"""Many small worlds keep every rule, and break one as soon as the shipped code has a bug."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.plants import BUGS
from tests.sim.play import play
from tests.sim.seams import prepared

ROOT = Path(__file__).parents[2]
SOON = 6000
"""Lives within which every planted bug is found."""


def _simulate(*arguments: str) -> tuple[int, str]:
    """In a process of its own: a world needs strings to hash alike, and replaces parts of what ships."""
    command = [sys.executable, "-m", "tests.sim", "--processes", "1", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout


def _broken_rule(told: str) -> str:
    rules: list[str] = re.findall(r"^(?:Violation|OutOfTime): .*$", told, re.MULTILINE)
    (rule,) = rules
    return rule


def test_five_hundred_lives_keep_every_rule() -> None:
    code, told = _simulate("--lives", "500")

    assert code == 0, told


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_planted_bug_is_found_and_its_seed_is_clean_without_it(bug: str) -> None:
    code, told = _simulate("--lives", str(SOON), "--plant", bug)

    assert code == 1, told
    (seed,) = re.findall(r"--seed-only (\d+)", told)
    assert _broken_rule(_simulate("--seed-only", seed, "--plant", bug)[1]) == _broken_rule(told)
    assert _simulate("--seed-only", seed)[0] == 0


def test_the_same_seed_goes_the_same_way() -> None:
    with prepared():
        first, second = play("3", traced=True), play("3", traced=True)

    assert first == second
    assert first.turns > 100
