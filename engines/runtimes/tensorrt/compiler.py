"""The process that compiles one engine: `compiling.py` starts it, so that a crash of the compiler is an error there.

It reads a `Request` from its standard input and tells lines of JSON on its standard output: `{"phase": …}` as it goes,
and one `{"seconds": …}` or `{"refused": …}` at the end. When its input ends, whoever asked is gone, and it stops.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import IO, Any

from engines.runtimes.tensorrt import request as requests
from engines.runtimes.tensorrt.log import logger
from engines.runtimes.tensorrt.request import Request
from engines.runtimes.tensorrt.timings import Timings


class Refused(Exception):
    """The compiler does not take the graph; the text says what it said."""


def main(folder: Path) -> int:
    """Compile what the request names. Returns 0 with an engine, 1 without."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what native code prints is for the log
    request = Request.from_json(sys.stdin.readline())
    begun = time.monotonic()
    try:
        plan = build(importlib.import_module(request.module), request, folder, channel)
    except Refused as refusal:
        _say(channel, refused=str(refusal))
        return 1
    requests.plan_file(folder).write_bytes(plan)
    _say(channel, seconds=time.monotonic() - begun, peak_bytes=_peak_bytes())
    return 0


def _peak_bytes() -> int:
    """Of resident memory. `getrusage` would count what the parent had when it started this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def build(trt: Any, request: Request, folder: Path, channel: IO[str]) -> memoryview:
    """The plan of the graph in the folder. Raises `Refused`."""
    log = logger(trt, sys.stderr.write)  # it must outlive the builder
    builder = trt.Builder(log)
    network = builder.create_network(0)  # strongly typed: precision is what the graph says
    parser = trt.OnnxParser(network, log)
    graph = requests.graph_file(folder)
    if not parser.parse(graph.read_bytes(), str(graph)):  # weights are looked for beside it
        raise Refused("; ".join(_of_parser(parser.get_error(at)) for at in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # it is on at first, and float32 would not be float32
    config.progress_monitor = monitor = _monitor(trt, channel)
    _profile(builder, config, request, log)
    if request.target is not None:
        _aim(trt, config, request.target, log)
    timings = Timings(requests.timings_file(folder)) if request.timings else None
    if timings is not None:
        timings.give(config)
    plan = builder.build_serialized_network(network, config)
    if monitor.stopped:
        raise Refused("it was stopped")
    if plan is None:
        raise Refused(log.text() or "no engine, and no reason given")
    if timings is not None:
        timings.take()
    return memoryview(plan)


def _of_parser(error: Any) -> str:
    return f"{error.node_operator()} {error.node_name()!r}: {error.desc()}"


def _profile(builder: Any, config: Any, request: Request, log: Any) -> None:
    """One profile with wide spans: a second one would double time and nearly double the engine."""
    profile = builder.create_optimization_profile()
    for name, sizes in requests.shapes(request.component).items():
        profile.set_shape(name, *sizes)
    if config.add_optimization_profile(profile) < 0:
        raise Refused(log.text() or "the spans make no profile")


def _aim(trt: Any, config: Any, target: int, log: Any) -> None:
    """Name the compute capability. An unknown one would end the build in a crash: both answers are looked at."""
    config.num_compute_capabilities = 1
    known = {int(capability): capability for capability in trt.ComputeCapability.__members__.values()}
    if target not in known or not config.set_compute_capability(known[target], 0):
        raise Refused(f"it has no compute capability {target} {log.text()}")


def _monitor(trt: Any, channel: IO[str]) -> Any:
    """Tells each phase, and ends the build when nobody listens any more."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stopped = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                _say(channel, phase=phase_name, steps=num_steps)

        def phase_finish(self, phase_name: str) -> None:
            """Nothing to tell."""

        def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002
            self.stopped = self.stopped or bool(select.select([sys.stdin], [], [], 0)[0])
            return not self.stopped

    return Monitor()


def _say(channel: IO[str], **what: object) -> None:
    channel.write(json.dumps(what) + "\n")
    channel.flush()
