"""ONNX Runtime runs what the store hands it, the same each time, from many threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from engines.runtimes.onnxruntime import OnnxRuntimeRunner
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
