"""Has an engine compiled by a process of its own. `runtime.py` calls it.

Native compilers crash: on some graphs TensorRT ends by a signal. Here that is an `EngineUnfit` with the end of the
compiler's log. Whoever interrupts the wait (Ctrl-C) closes the child's input, at which it ends its build; a child whose
parent was killed finds the same.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from engines.errors import EngineUnfit
from engines.kept import KeptFile
from engines.runtimes.base import Tell
from engines.runtimes.tensorrt import request as requests
from engines.runtimes.tensorrt.request import Compiled, Request
from engines.weights import Weights

GRACE_S: Final = 5.0
"""For a build that was told to end; it looks between two steps."""
LOG_LINES: Final = 12
"""Of the log's end, in an error."""
_START: Final = (
    "import pathlib, sys; sys.path[:0] = {path!r}; "
    "from engines.runtimes.tensorrt.compiler import main; sys.exit(main(pathlib.Path({folder!r})))"
)


class Died(EngineUnfit):
    """The compiler ended without an answer."""


def compile_in_child(
    request: Request,
    graph: bytes,
    tell: Tell,
    *,
    weights: Weights | None = None,
    timings: KeptFile | None = None,
) -> Compiled:
    """Compile a graph and the files beside it; `tell` hears of each phase. In `timings` is kept how fast kernels were,
    for the next build.

    Raises `EngineUnfit`.
    """
    requests.shapes(request.component)  # what is wrong with the spans is known before anything starts
    if timings is None:
        return _compiled(request, graph, tell, weights)[0]
    request = replace(request, timings=True)
    with timings.tried() as trial:
        try:
            made, after = _compiled(request, graph, tell, weights, trial.data)
        except Died:
            if trial.data is None:
                raise
            trial.refuse()  # it may have been that
            made, after = _compiled(request, graph, tell, weights)
    if after is not None:
        timings.put(after)
    return made


def _compiled(
    request: Request, graph: bytes, tell: Tell, weights: Weights | None, timings: bytes | None = None
) -> tuple[Compiled, bytes | None]:
    """What a child made, and the timings that it left."""
    where = f"{request.component.name}: {request.module}"
    with tempfile.TemporaryDirectory(prefix="longtake-compile-") as made:
        folder = Path(made)
        requests.graph_file(folder).write_bytes(graph)
        if weights is not None:  # the graph names them as if they lay beside it
            for file in weights.files:
                (folder / file.sha256).symlink_to(weights.folder.resolve() / file.sha256)
        if timings is not None:
            requests.timings_file(folder).write_bytes(timings)
        last: dict[str, Any] = {}
        with _child(folder) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(request.to_json() + "\n")
            child.stdin.flush()
            for line in child.stdout:
                last = json.loads(line)
                if "phase" in last:
                    tell(str(last["phase"]))
            status = child.wait()
        if "refused" in last:
            raise EngineUnfit(f"{where} refuses the graph: {last['refused']}")
        if status != 0 or "seconds" not in last:
            raise Died(f"{where} {_ending(status)}; the end of its log:\n{_log_end(folder)}")
        after = requests.timings_file(folder)
        return (
            Compiled(requests.plan_file(folder).read_bytes(), float(last["seconds"]), int(last["peak_bytes"])),
            after.read_bytes() if after.is_file() else None,
        )


@contextmanager
def _child(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The compiling process; gone at the end, whatever happens."""
    program = _START.format(path=[place for place in sys.path if place], folder=str(folder))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which ends the child in order
        ) as child,
    ):
        try:
            yield child
        finally:
            _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """Tell it to stop, and kill it when it does not."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _ending(status: int) -> str:
    if status < 0:
        return f"crashed ({signal.Signals(-status).name})"
    return f"ended without an answer (status {status})"


def _log_end(folder: Path) -> str:
    lines = (folder / "log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES:]) or "(empty)"
