"""`python -m tests.sim`: plays many worlds in two processes, and tells the first one that broke.

A failing world is played again with its trace: the same seed goes the same way, as long as strings hash alike. So the
processes run with a fixed PYTHONHASHSEED.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from tests.sim import hunt
from tests.sim.crashing import Crashes, first_broken, live, pairs
from tests.sim.plants import BUGS, planted
from tests.sim.play import Played, play
from tests.sim.seams import prepare

HASH_SEED = "0"
BATCH = 20
"""Worlds that a process plays before it tells how they went."""
SHOWN = 60
"""Events of a broken world that are shown."""


def main() -> int:
    """The command. Exit code 1: a rule was broken."""
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.sim", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": HASH_SEED},
        )
    if options.plants is not None:
        return hunt.plants(options.plants or sorted(BUGS), options.seeds, options.lives, options.processes)
    if options.crashes is not None:
        return _one_life(options.crashes)
    if options.seed_only is not None:
        return _tell(_again(options.seed_only, options), options)
    return _many(options) or _pairs(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--lives", type=int, default=20_000, help="how many jobs live, at least (--plants: at most)")
    parser.add_argument("--seed", type=int, default=0, help="of the first world")
    parser.add_argument("--seed-only", help="play this one world and show its trace")
    bugs = sorted(BUGS)
    broken = "break the shipped code in this way first (docs/simulation.md has them)"
    parser.add_argument("--plant", choices=bugs, metavar="BUG", help=broken)
    found = "find each of these, or every one; a table"
    parser.add_argument("--plants", nargs="*", choices=bugs, metavar="BUG", help=found)
    parser.add_argument("--seeds", type=_seeds, default=hunt.SEEDS, help="where --plants begins: 0,1000000,2000000")
    parser.add_argument("--pairs", type=int, default=0, help="how many pairs of crashes are tried after that")
    parser.add_argument("--crashes", type=_crashes, help="live one life with these crashes: 12:director,40:denoiser")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--events", type=int, default=SHOWN, help="how many of a broken world's last events are shown")
    return parser.parse_args()


def _many(options: argparse.Namespace) -> int:
    began = shown = time.monotonic()
    lives = worlds = 0
    for played in _played(options):
        worlds += 1
        lives += played.lives
        if played.broken:
            return _tell(_again(played.seed, options), options)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            print(f"{lives} lives in {worlds} worlds, {lives / (shown - began):.0f} a second", flush=True)
        if lives >= options.lives:
            break
    last = options.seed + worlds - 1
    spent = time.monotonic() - began
    print(f"{lives} lives in {worlds} worlds (seeds {options.seed} to {last}), no rule was broken; {spent:.0f} s")
    return 0


def _played(options: argparse.Namespace) -> Iterator[Played]:
    """World after world, in the order of their seeds, without end."""
    starts = itertools.count(options.seed, BATCH)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context, initializer=prepare) as pool:
        going: deque[Future[list[Played]]] = deque()
        try:
            while True:
                while len(going) < 2 * options.processes:
                    start = next(starts)
                    going.append(pool.submit(_batch, range(start, start + BATCH), options.plant))
                yield from going.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _batch(seeds: range, plant: str | None) -> list[Played]:
    played = []
    with planted(plant):
        for seed in seeds:
            played.append(play(str(seed)))
            if played[-1].broken:
                break
    return played


def _again(seed: str, options: argparse.Namespace) -> Played:
    prepare()
    with planted(options.plant):
        return play(seed, traced=True)


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def _crashes(text: str) -> Crashes:
    return {int(number): kind for number, _, kind in (part.partition(":") for part in text.split(","))}


def _one_life(crashes: Crashes) -> int:
    prepare()
    found = first_broken([crashes])
    print(found[1] if found else "no rule was broken")
    return 1 if found else 0


def _pairs(options: argparse.Namespace) -> int:
    if not options.pairs:
        return 0
    prepare()
    began = time.monotonic()
    drawn = list(pairs(live({}), options.pairs, str(options.seed)))
    batches = [drawn[at : at + BATCH] for at in range(0, len(drawn), BATCH)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context, initializer=prepare) as pool:
        for found in pool.map(first_broken, batches):
            if found is not None:
                pool.shutdown(cancel_futures=True)
                given = ",".join(f"{number}:{kind}" for number, kind in found[0].items())
                print(f"{found[1]}\n\nplay it again: python -m tests.sim --crashes {given}")
                return 1
    print(f"{len(drawn)} pairs of crashes, no rule was broken; {time.monotonic() - began:.0f} s")
    return 0


def _tell(played: Played, options: argparse.Namespace) -> int:
    print("\n".join(played.trace[len(played.trace) - options.events :]))
    print(f"\nworld {played.seed}: {played.lives} lives, {played.seconds:.1f} s, {played.turns} turns")
    if not played.broken:
        print("no rule was broken")
        return 0
    plant = f" --plant {options.plant}" if options.plant else ""
    print(f"{played.broken}\n\nplay it again: python -m tests.sim --seed-only {played.seed}{plant}")
    return 1
