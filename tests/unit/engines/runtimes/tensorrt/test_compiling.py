"""TensorRT-RTX compiles graphs on a CPU: real builds, in a process that may crash, be refused and be stopped."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engines import models
from engines.errors import EngineUnfit
from engines.runtimes.registry import SHIPPED
from engines.runtimes.tensorrt import compiling, request
from engines.runtimes.tensorrt.compiling import compile_in_child
from engines.runtimes.tensorrt.request import Request
from engines.spec import ComponentSpec, Span, TensorSpec
from engines.weights import Weights, WeightsFolder
from tests.beside_engines import MIXER, lower, moved_out

Graph = Callable[..., bytes]

rtx = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import tensorrt_rtx"], capture_output=True).returncode != 0,
    reason="real builds need the extra longtake[tensorrt_rtx]",
)


def quiet(phase: str) -> None:
    """Hear and forget."""


@rtx
def test_a_graph_becomes_a_plan_for_each_target(doubler: ComponentSpec, make_graph: Graph) -> None:
    phases: list[str] = []
    one = compile_in_child(Request("tensorrt_rtx", doubler, 89), make_graph(), phases.append)
    other = compile_in_child(Request("tensorrt_rtx", doubler, 120), make_graph(), quiet)
    assert len(one.plan) > 1000
    assert len(other.plan) > 1000
    assert one.plan != other.plan
    assert phases


@rtx
def test_weights_beside_the_graph_come_into_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower(monkeypatch)
    folder = WeightsFolder(tmp_path / "weights")
    graph, files = moved_out(folder)
    request, weights = Request("tensorrt_rtx", MIXER, 89), Weights(folder.path, files)
    made = compile_in_child(request, graph, quiet, weights=weights)
    assert len(made.plan) > sum(file.size for file in files)
    with pytest.raises(EngineUnfit, match="mixer: tensorrt_rtx refuses the graph"):
        compile_in_child(request, graph, quiet)


@rtx
def test_the_compiler_s_memory_is_its_own_and_not_what_its_parent_had(
    doubler: ComponentSpec, make_graph: Graph
) -> None:
    held = b"x" * 400_000_000
    made = compile_in_child(Request("tensorrt_rtx", doubler, 89), make_graph(), quiet)
    assert 50e6 < made.peak_bytes < len(held)


@rtx
@pytest.mark.parametrize("component", ["vae_encoder", "dit"])
@pytest.mark.parametrize("target", [80, 89, 120])
def test_graphs_of_the_model_that_ships_compile_for_every_target(component: str, target: int) -> None:
    model = models.find("sprite")
    found = asyncio.run(model.package_store().find(model.name, None))
    entry = found.manifest.entry(component)
    graph = asyncio.run(found.read(entry))
    made = compile_in_child(Request("tensorrt_rtx", entry.spec.component, target), graph, quiet)
    assert len(made.plan) > len(graph) // 2


@rtx
def test_what_the_compiler_refuses_is_told_by_the_name_of_its_node(doubler: ComponentSpec, make_graph: Graph) -> None:
    model = onnx.load_from_string(make_graph())
    model.graph.node.append(helper.make_node("Unique", ["x"], ["u"], name="unlike"))
    model.graph.output.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, ["U"]))
    with pytest.raises(EngineUnfit, match="doubler: tensorrt_rtx refuses the graph: Unique 'unlike'"):
        compile_in_child(Request("tensorrt_rtx", doubler, 89), model.SerializeToString(), quiet)


@rtx
def test_a_capability_that_it_has_not_is_refused_and_no_crash(doubler: ComponentSpec, make_graph: Graph) -> None:
    with pytest.raises(EngineUnfit, match="no compute capability 90"):
        compile_in_child(Request("tensorrt_rtx", doubler, 90), make_graph(), quiet)


@rtx
def test_the_targets_are_those_of_the_package() -> None:
    runtime = SHIPPED.find("tensorrt_rtx")
    code = (
        "import tensorrt_rtx as t; print(*[n.lower() for n in t.ComputeCapability.__members__ if n.startswith('SM')])"
    )
    known = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert list(runtime.devices) == known


def test_targets_are_known_and_each_is_compiled_for_once() -> None:
    runtime = SHIPPED.find("tensorrt_rtx")
    assert runtime.targets(["sm120", "sm89", "sm120"]) == ("sm120", "sm89")
    with pytest.raises(EngineUnfit, match=r"no target sm90; it has sm75, .*: --runtime tensorrt"):
        runtime.targets(["sm89", "sm90"])


def test_without_a_gpu_a_target_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SHIPPED.find("tensorrt_rtx")
    monkeypatch.setattr(type(runtime), "here", lambda _: None)
    with pytest.raises(EngineUnfit, match="here is no GPU, so name one: --target sm75"):
        runtime.targets([])
    monkeypatch.setattr(type(runtime), "here", lambda _: "sm86")
    assert runtime.targets([]) == ("sm86",)


def test_tensorrt_compiles_for_the_gpu_at_hand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SHIPPED.find("tensorrt")
    monkeypatch.setattr(type(runtime), "here", lambda _: "sm90")
    assert runtime.targets([]) == runtime.targets(["sm90"]) == ("sm90",)
    with pytest.raises(EngineUnfit, match="here sm90, not sm100"):
        runtime.targets(["sm100"])
    monkeypatch.setattr(type(runtime), "here", lambda _: None)
    with pytest.raises(EngineUnfit, match="here is none: build there"):
        runtime.targets(["sm90"])


def test_a_size_without_a_name_is_refused_before_anything_starts() -> None:
    free = ComponentSpec("free", (TensorSpec("x", "float32", (None, 3)),), (), {})
    with pytest.raises(EngineUnfit, match=r"a size of input x .* has no name"):
        compile_in_child(Request("nothing_of_this_name", free, None), b"", quiet)


def test_spans_become_three_shapes_of_each_input_with_a_free_size() -> None:
    spec = ComponentSpec(
        "c",
        (TensorSpec("x", "float32", ("B", 3, "8*h")), TensorSpec("fixed", "int64", (4,))),
        (),
        {"B": Span(1, 2, 4), "8*h": Span(32, 64, 112)},
    )
    assert request.shapes(spec) == {"x": ((1, 3, 32), (2, 3, 64), (4, 3, 112))}


def test_a_request_crosses_the_pipe_unchanged(doubler: ComponentSpec) -> None:
    for target in (80, None):
        asked = Request("tensorrt_rtx", doubler, target)
        assert Request.from_json(asked.to_json()) == asked


def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: str) -> None:
    """A package `pretended` whose `Builder` does what is given; the process and the pipe are real."""
    (tmp_path / "pretended.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "class ILogger:\n    WARNING = 2\n"
        f"def Builder(log):\n{textwrap.indent(builder, '    ')}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_crash_of_the_compiler_is_an_error_with_the_end_of_its_log(
    doubler: ComponentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, "print('tactic 7', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(EngineUnfit, match=r"doubler: pretended crashed \(SIGSEGV\); the end of its log:\ntactic 7"):
        compile_in_child(Request("pretended", doubler, None), b"", quiet)


def test_a_compiler_that_ends_without_a_word_is_an_error(
    doubler: ComponentSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, "os._exit(0)")
    with pytest.raises(EngineUnfit, match=r"ended without an answer \(status 0\)"):
        compile_in_child(Request("pretended", doubler, None), b"", quiet)


@rtx
def test_an_interrupted_wait_stops_the_compiler_and_leaves_no_process() -> None:
    model = models.find("sprite")
    found = asyncio.run(model.package_store().find(model.name, None))
    entry = found.manifest.entry("dit")
    graph = asyncio.run(found.read(entry))

    def interrupt(phase: str) -> None:
        raise KeyboardInterrupt

    before = children()
    with pytest.raises(KeyboardInterrupt):
        compile_in_child(Request("tensorrt_rtx", entry.spec.component, 89), graph, interrupt)
    assert children() <= before


def test_a_compiler_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "GRACE_S", 0.1)
    with subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE, text=True) as deaf:
        compiling._end(deaf)
        assert deaf.returncode == -signal.SIGKILL


def children() -> set[str]:
    """Processes that this one started and that are still there."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
