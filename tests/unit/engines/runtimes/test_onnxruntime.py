"""ONNX Runtime runs what the store hands it, the same each time, from many threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engines.errors import EngineDeviceAbsent, EngineUnfit
from engines.runtimes.onnxruntime import OnnxRuntime, OnnxRuntimeRunner
from engines.spec import ComponentSpec, TensorSpec

Graph = Callable[..., bytes]


def test_it_computes_what_the_graph_says(doubler: ComponentSpec, make_graph: Graph) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with OnnxRuntimeRunner(doubler, make_graph(), threads=1) as runner:
        found = runner.infer({"x": x, "i": np.array([10, 20])})
    np.testing.assert_array_equal(found["y"], 2 * x + np.array([[10], [20]]))


def test_calls_from_many_threads_give_each_its_own_answer(doubler: ComponentSpec, make_graph: Graph) -> None:
    with OnnxRuntimeRunner(doubler, make_graph(), threads=2) as runner, ThreadPoolExecutor(8) as pool:
        inputs = [{"x": np.full((1, 3), n, np.float32), "i": np.array([n])} for n in range(64)]
        found = list(pool.map(lambda values: runner.infer(values)["y"][0, 0], inputs))
    assert found == [3 * n for n in range(64)]


def test_a_graph_that_is_not_what_its_spec_says_is_refused(doubler: ComponentSpec, make_graph: Graph) -> None:
    other = replace(doubler, outputs=(TensorSpec("z", "float32", ("B", 3)),))
    runner = OnnxRuntimeRunner(other, make_graph(), threads=1)
    with pytest.raises(ValueError, match="doubler: the graph has"):
        runner.activate()


def test_a_runner_without_threads_is_refused(doubler: ComponentSpec, make_graph: Graph) -> None:
    with pytest.raises(ValueError, match="threads: 0"):
        OnnxRuntimeRunner(doubler, make_graph(), threads=0)


class Sessions:
    """Stands where ONNX Runtime makes sessions: what was asked for, and one that says that it runs on `runs_on`."""

    def __init__(self, runs_on: str) -> None:
        self._runs_on = runs_on
        self.asked: list[Any] = []
        self.real = onnxruntime.InferenceSession

    def __call__(self, graph: bytes, options: Any, *, providers: list[Any]) -> Any:
        self.asked += providers
        session = self.real(graph, options, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: [self._runs_on, "CPUExecutionProvider"]
        return session


def test_without_its_provider_no_engine_for_a_gpu_is_run_at_all(doubler: ComponentSpec, make_graph: Graph) -> None:
    """Really: ONNX Runtime itself goes on without a provider that it does not have, and warns."""
    assert not OnnxRuntime().runs("cuda")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(
            EngineDeviceAbsent, match="doubler: its engine is for cuda, and ONNX Runtime would run it by CPU"
        ),
    ):
        OnnxRuntime().runner(doubler, make_graph(), threads=1, device="cuda").activate()
    assert "onnxruntime-gpu" in OnnxRuntime().remedy("cuda")


@pytest.mark.parametrize(("runs_on", "fits"), [("CUDAExecutionProvider", True), ("CPUExecutionProvider", False)])
def test_what_a_session_really_runs_on_decides(
    doubler: ComponentSpec, make_graph: Graph, monkeypatch: pytest.MonkeyPatch, runs_on: str, fits: bool
) -> None:
    """A package with the provider, on a machine where it starts, and on one where it does not."""
    sessions = Sessions(runs_on)
    monkeypatch.setattr(onnxruntime, "InferenceSession", sessions)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    runtime, inputs = OnnxRuntime(), {"x": np.ones((1, 3), np.float32), "i": np.array([1])}
    assert runtime.runs("cuda")
    runner = runtime.runner(doubler, make_graph(), threads=1, device="cuda")
    if fits:
        with runner:
            np.testing.assert_array_equal(runner.infer(inputs)["y"], [[3, 3, 3]])
    else:
        with pytest.raises(EngineDeviceAbsent, match="pip uninstall onnxruntime"):
            runner.activate()
    [(provider, choices)] = sessions.asked
    assert (provider, choices["use_tf32"]) == ("CUDAExecutionProvider", "0")


def test_it_compiles_for_the_cpu_unless_a_gpu_is_named_and_for_nothing_else() -> None:
    runtime = OnnxRuntime()
    assert (runtime.targets(()), runtime.targets(("cuda",))) == (("cpu",), ("cuda",))
    with pytest.raises(EngineUnfit, match="compiles for cpu, cuda, not for sm90"):
        runtime.targets(("sm90",))
    assert runtime.no_precision("bfloat16", "cuda")
    assert runtime.no_precision("float16", "cuda") is None
