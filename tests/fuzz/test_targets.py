"""The targets take what they begin from; and a little more, where atheris is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
RUNS = 2000


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds_whole_and_broken(name: str) -> None:
    target = TARGETS[name]
    for seed in target.seeds:
        broken = (seed[: len(seed) // 2], seed * 2, bytes(byte ^ 0x80 for byte in seed), seed[::-1])
        for data in (seed, b"", b"\0" * 9, b"\xff" * 9, *broken):
            target.read(data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_what_is_made_up_for_it(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="pip install atheris")
    command = [sys.executable, "-m", "tests.fuzz", name, f"-runs={RUNS}", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
