"""`python -m loadtests`: run the benchmarks on this machine and print one table. `make bench` calls it.

Everything is a ratio against a baseline of the same run, with its spread; nothing fails because of a time.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from engines.errors import EngineError
from loadtests.scale import FULL, QUICK
from loadtests.table import Row, markdown
from serving.errors import LongtakeError
from serving.local.parts import StartFailed

BENCHMARKS = (
    "frontdoor",
    "overhead",
    "stages",
    "dit_flops",
    "engines",
    "bytes_moved",
    "history",
    "length",
    "scheduling",
    "director",
    "backlog",
)
INTERRUPTED = 130
"""As a shell says of Ctrl-C."""


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Measure this machine: front door polls, overhead, stages, DiT FLOP/s, engines beside torch, bytes "
        "moved, history, length, the Director alone, with a backlog; and, on a simulated clock, the order of work.",
        epilog="Values read `median (middle half)`; ratios are medians of paired ratios, arms interleaved. "
        "Let nothing else run meanwhile.",
    )
    parser.add_argument("--only", metavar="NAME", action="append", choices=BENCHMARKS, help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small counts: shows that it works, measures little")
    parser.add_argument("--write", metavar="FILE", type=Path, help="also write the table to this Markdown file")
    asked = parser.parse_args(arguments)
    # The encoder and the Director tell of every segment otherwise.
    os.environ.setdefault("SVT_LOG", "1")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    machine, rows = _machine(), list[Row]()
    try:
        for name in asked.only or BENCHMARKS:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += importlib.import_module(f"loadtests.benchmarks.{name}").run(QUICK if asked.quick else FULL)
    except (EngineError, LongtakeError, StartFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: nothing was measured to its end", file=sys.stderr)
        return INTERRUPTED
    text = f"{machine}\n\n{markdown(rows)}\n"
    print(text)
    if asked.write:
        asked.write.write_text(f"# Benchmarks\n\nBy `python -m loadtests`.\n\n{text}")
    return 0


def _machine() -> str:
    """What it is, and how busy it is before anything is measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"{cores} cores, {model}, Python {platform.python_version()}, load {load:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
