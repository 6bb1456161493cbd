"""Compiles the graphs of `graphs.py` for each target, and prints a table of seconds, bytes and memory.

Ends with 1 when one is refused. Needs `longtake[build]` and `longtake[tensorrt_rtx]`, and no GPU.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Final

from engines.errors import EngineUnfit
from engines.precision import WORDS
from engines.runtimes.tensorrt.compiling import compile_in_child
from engines.runtimes.tensorrt.request import Compiled, Request
from engines.spec import ComponentSpec
from tests.engines_check import graphs

TARGETS: Final = (80, 89, 120)


def main() -> int:
    """The table, as Markdown; in each cell a number for each target."""
    refused = False
    print(f"TensorRT-RTX {version('tensorrt-rtx')}, for sm{', sm'.join(map(str, TARGETS))}\n")
    print(
        "| graph | precision | graph, MB | engine, MB | seconds | peak memory, MB |\n|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for word, precision in WORDS.items():
            checkpoints = (of(Path(folder), precision) for of in (graphs.of_wan, graphs.of_wan_still, graphs.of_helios))
            for name, graph, component in chain(graphs.of_sprite(precision), *checkpoints):
                begins = f"| {name} | {word} | {len(graph) / 1e6:.2f} |"
                try:
                    print(f"{begins} {_cells(graph, component)} |", flush=True)
                except EngineUnfit as error:
                    refused = True
                    print(f"{begins} REFUSED: {error} | | |", flush=True)
    return 1 if refused else 0


def _cells(graph: bytes, component: ComponentSpec) -> str:
    made = [compile_in_child(Request("tensorrt_rtx", component, target), graph, lambda _: None) for target in TARGETS]
    numbers: tuple[Callable[[Compiled], str], ...] = (
        lambda one: f"{len(one.plan) / 1e6:.2f}",
        lambda one: f"{one.seconds:.1f}",
        lambda one: f"{one.peak_bytes / 1e6:.0f}",
    )
    return " | ".join(" / ".join(map(number, made)) for number in numbers)


if __name__ == "__main__":
    sys.exit(main())
