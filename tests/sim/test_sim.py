"""Small worlds break a rule as soon as the shipped code has a bug. That they keep every rule else, `make sim` shows."""

from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
import warnings
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from serving.errors import Unavailable
from tests.sim.chance import Chance, Faults
from tests.sim.loop import SimLoop
from tests.sim.plants import BUGS
from tests.sim.plants.plant import told
from tests.sim.play import play
from tests.sim.process import Process
from tests.sim.seams import prepared
from tests.sim.shape import Shape
from tests.sim.store import SimStore
from tests.sim.world import World

ROOT = Path(__file__).parents[2]
SOON = 500
"""Lives within which each of these is found; `python -m tests.sim --plants` looks for every one."""
QUICK = {
    "attempts-not-counted": 0,
    "counts-away": 1_000_000,
    "deletes-the-running": 0,
    "drops-unknown": 2_000_000,
    "expires-early": 0,
    "forgets-references": 2_000_000,
    "ignores-conflict": 0,
    "no-cap": 0,
    "refuses-checkpoints": 0,
    "retires-first": 0,
    "unannounced": 0,
}
"""Some bugs, and the seed of the first world, by docs/simulation.md one after which each is soon found."""


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


@pytest.mark.parametrize("bug", QUICK)
def test_a_planted_bug_is_found_and_its_seed_is_clean_without_it(bug: str) -> None:
    code, told = _simulate("--lives", str(SOON), "--plant", bug, "--seed", str(QUICK[bug]))

    assert code == 1, told
    (seed,) = re.findall(r"--seed-only (\d+)", told)
    assert _broken_rule(_simulate("--seed-only", seed, "--plant", bug)[1]) == _broken_rule(told)
    assert _simulate("--seed-only", seed)[0] == 0


def test_the_page_of_the_simulation_tells_of_every_planted_bug() -> None:
    rows = re.findall(r"^\| ([a-z-]+) \| (.+?) \| (?:\d|\*)", (ROOT / "docs/simulation.md").read_text(), re.MULTILINE)

    assert dict(rows) == {name: told(bug) for name, bug in BUGS.items()}


def test_a_world_is_not_at_rest_while_a_create_may_still_take_effect() -> None:
    world = World("late", Shape(), Faults())
    world.chance.trouble(Faults(late=1.0))

    async def late_create() -> tuple[float, bool]:
        with pytest.raises(Unavailable):
            await SimStore(world.disk, world.process("door"), world.chance).put_if_absent("late", b"")
        there = "late" in world.disk.objects
        await world.rest()
        return world.loop.now, there

    _, there = world.loop.run(late_create(), limit_s=60.0)

    assert not there
    assert "late" in world.disk.objects


def test_what_never_took_its_first_step_is_let_go_without_a_warning() -> None:
    loop = SimLoop(Random(1))  # type: ignore[abstract]  # what it lacks nobody asks for
    process = Process(loop, "short-lived")

    async def life() -> None:
        await asyncio.sleep(1.0)

    async def watched(work: Coroutine[Any, Any, None]) -> None:
        await work

    async def die_at_once() -> None:
        process.spawn(life())
        process.spawn(watched(life()))
        process.kill()

    loop.run(die_at_once(), limit_s=1.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loop.forget()
        gc.collect()

    assert [str(warning.message) for warning in said] == []


def test_a_disturbance_lasts_as_long_as_what_goes_wrong() -> None:
    now = [5.0]
    chance = Chance(Random(1), lambda: now[0])

    chance.lose(3.0)
    chance.disturb(1.0)

    assert chance.disturbed_until == 8.0
    assert chance.lost_since(5.0) == 1


def test_a_wrong_bit_of_a_checkpoint_is_one_of_its_latents() -> None:
    latents = np.arange(6, dtype=np.float32)
    good = save({"latents": latents, "step": np.array([3], np.int64), "fingerprint": np.zeros(16, np.uint8)})
    chance = Chance(Random(1), lambda: 0.0)

    for _ in range(50):
        read = load(chance.flip("t/tenant/checkpoints/job/00000/work/3-1-digest", good))

        assert (read["latents"].view(np.uint32) != latents.view(np.uint32)).sum() == 1
        assert read["step"] == 3
        assert not read["fingerprint"].any()


def test_the_same_seed_goes_the_same_way() -> None:
    with prepared():
        first, second = play("3", traced=True), play("3", traced=True)

    assert first == second
    assert first.turns > 100
