"""`python -m tests.sim --plants`: in how many lives is each planted bug found? A table in Markdown, a row for each.

A bug that is not found by a simulation shows what its rules do not see; so the table is a part of what it promises.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from tests.sim.plants import BUGS, planted
from tests.sim.plants.plant import told
from tests.sim.play import play
from tests.sim.seams import prepare

SEEDS = (0, 1_000_000, 2_000_000)
"""Where the worlds begin in which they are looked for."""
_NAMES = re.compile(r"(vid_\w+|[0-9a-f]{16,}|[a-z]+-\d+|\d+(\.\d+)?)")


class Found(NamedTuple):
    """The first rule that a planted bug breaks."""

    lives: int | None
    """Lived until then; None: it was not found."""
    rule: str = ""


def plants(names: Sequence[str], seeds: Sequence[int], lives: int, processes: int) -> int:
    """Look for each; prints a row as soon as it is known. Exit code 1: one was not found everywhere."""
    context = multiprocessing.get_context("spawn")
    missed = []
    print("| plant | what is wrong then | lives until found | a rule that it breaks |\n|---|---|---|---|", flush=True)
    with ProcessPoolExecutor(processes, mp_context=context, initializer=prepare) as pool:
        hunts = {name: [pool.submit(hunt, name, seed, lives) for seed in seeds] for name in names}
        for name, running in hunts.items():
            found = [one.result() for one in running]
            counts = ", ".join("**no**" if one.lives is None else str(one.lives) for one in found)
            rule = next((one.rule for one in found if one.rule), "")
            print(f"| {name} | {told(BUGS[name])} | {counts} | {rule} |", flush=True)
            if any(one.lives is None for one in found):
                missed.append(name)
    print(f"\nnot found in {lives} lives: {', '.join(missed)}" if missed else f"\nall {len(names)} were found")
    return 1 if missed else 0


def hunt(name: str, seed: int, lives: int) -> Found:
    """World after world from `seed` on, with this bug, until a rule breaks or so many lives were lived."""
    lived = 0
    with planted(name):
        while lived < lives:
            played = play(str(seed))
            lived += played.lives
            if played.broken:
                return Found(lived, _rule(played.broken))
            seed += 1
    return Found(None)


def _rule(broken: str) -> str:
    """The first line without names and numbers."""
    line = re.findall(r"^(?:[\w.]+: .*)$", broken, re.MULTILINE)[-1 if broken.startswith("Traceback") else 0]
    return _NAMES.sub("…", line).replace("|", "/")[:110]
