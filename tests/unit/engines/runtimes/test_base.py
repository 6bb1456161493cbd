"""Inputs that do not fit are refused by name before a runtime sees them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.runtimes.base import Arrays, Runner, check_inputs
from engines.spec import ComponentSpec

GOOD: Arrays = {"x": np.zeros((2, 3), np.float32), "i": np.zeros(2, np.int64)}


def test_inputs_that_fit_pass(doubler: ComponentSpec) -> None:
    check_inputs(doubler, GOOD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"i": None}, "missing inputs i"),
        ({"z": np.zeros(1)}, "unknown inputs z"),
        ({"x": np.zeros((2, 3))}, "x is float64, expected float32"),
        ({"x": np.zeros(6, np.float32)}, r"x has shape \[6\], expected x float32 \[B, 3\]"),
        ({"x": np.zeros((2, 4), np.float32)}, "x has 4 in dim 1"),
        ({"x": np.zeros((5, 3), np.float32), "i": np.zeros(5, np.int64)}, "B is 5, and this engine takes 1 to 4"),
        ({"i": np.zeros(3, np.int64)}, "B is 3, but 2 in input x"),
    ],
)
def test_an_input_that_does_not_fit_is_named(
    doubler: ComponentSpec, change: Mapping[str, NDArray[np.generic] | None], message: str
) -> None:
    inputs = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=f"doubler: .*{message}"):
        check_inputs(doubler, inputs)


def test_a_runner_lives_from_activate_to_deactivate(doubler: ComponentSpec) -> None:
    runner = Recording(doubler)
    with pytest.raises(RuntimeError, match="before activate"):
        runner.infer(GOOD)
    with runner:
        runner.activate()
        runner.infer(GOOD)
    with pytest.raises(RuntimeError):
        runner.infer(GOOD)
    assert runner.seen == ["load", "run", "unload"]


def test_a_runner_can_be_let_go_of_after_a_failed_start(doubler: ComponentSpec) -> None:
    runner = Recording(doubler, fails=True)
    with pytest.raises(OSError, match="no memory"):
        runner.activate()
    runner.deactivate()
    assert runner.seen == ["load", "unload"]


def test_a_runner_that_keeps_what_it_loaded_is_told_so(doubler: ComponentSpec) -> None:
    runner = Hoarding(doubler)
    runner.activate()
    with pytest.raises(RuntimeError, match=r"doubler: Hoarding was not reset by deactivate \(loaded\)"):
        runner.deactivate()


class Recording(Runner):
    """Notes its life."""

    def __init__(self, component: ComponentSpec, *, fails: bool = False) -> None:
        super().__init__(component)
        self.seen: list[str] = []
        self.fails = fails

    def _load(self) -> None:
        self.seen.append("load")
        if self.fails:
            raise OSError("no memory")

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        self.seen.append("run")
        return {"y": inputs["x"]}

    def _unload(self) -> None:
        self.seen.append("unload")


class Hoarding(Recording):
    """Keeps what it loaded."""

    loaded: object = None

    def _load(self) -> None:
        self.loaded = object()
