"""Kernels that TensorRT-RTX makes outlive the process, and whatever is wrong with them stops no engine."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines.errors import EngineError
from engines.kept import TRYING, Kept
from engines.runtimes.tensorrt.runner import TensorRtRunner
from engines.spec import ComponentSpec
from engines.weights import WeightsFolder
from tests.unit.engines.runtimes.tensorrt.fake_gpu import FakeCache, FakeDevice, FakePackage

Graph = Callable[..., bytes]
X = np.arange(6, dtype=np.float32).reshape(2, 3)
I = np.array([10, 20])  # noqa: E741
Y = 2 * X + I[:, None]


class Machine:
    """What stays when a process goes: the folder. Each start has a package and a GPU of its own."""

    def __init__(self, component: ComponentSpec, plan: bytes, folder: Path) -> None:
        self.kept = Kept(WeightsFolder(folder), "e" * 64)
        self._component = component
        self._plan = plan

    def start(
        self, prepare: Callable[[FakePackage], object] | None = None, *, ahead: bool = True, calls: bool = True
    ) -> FakePackage:
        """Load the engine, call it with two shapes, and let go of it."""
        device = FakeDevice()
        package = FakePackage(device, ahead=ahead)
        if prepare is not None:
            prepare(package)
        with TensorRtRunner(
            self._component, self._plan, lambda: package, device=lambda: device, kept=self.kept
        ) as runner:
            for rows in (2, 1) if calls else ():
                np.testing.assert_array_equal(runner.infer({"x": X[:rows], "i": I[:rows]})["y"], Y[:rows])
        assert device.memory == {}
        return package

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.kept.folder.path.iterdir()}


@pytest.fixture
def machine(doubler: ComponentSpec, make_graph: Graph, tmp_path: Path) -> Machine:
    return Machine(doubler, make_graph(), tmp_path / "weights")


def test_a_start_makes_only_what_none_before_has_made(machine: Machine) -> None:
    assert len(machine.start().compiled) == 3
    assert list(machine.files()) == [f"{'e' * 64}.sm89-cuda13000-1.7.1.116.kernels.kept"]
    assert machine.start().compiled == []


def test_those_of_the_context_are_kept_before_anything_is_called(machine: Machine) -> None:
    assert machine.start(calls=False).compiled == ["context"]
    assert machine.start(calls=False).compiled == []
    assert len(machine.start().compiled) == 2


def test_another_version_or_gpu_has_kernels_of_its_own(machine: Machine) -> None:
    machine.start()

    def newer(package: FakePackage) -> None:
        package.__version__ = "1.8.0.1"

    def other(package: FakePackage) -> None:
        package.device.kind = "sm120-cuda13000"

    assert len(machine.start(newer).compiled) == len(machine.start(other).compiled) == 3
    assert len(machine.files()) == 3
    assert machine.start().compiled == []


def test_kernels_that_the_package_refuses_are_made_anew_and_kept(machine: Machine) -> None:
    machine.start()

    def updated(package: FakePackage) -> None:
        package.machine = "a driver of the same CUDA"

    assert len(machine.start(updated).compiled) == 3
    assert len(machine.files()) == 1
    assert machine.start(updated).compiled == []


def test_kernels_that_the_package_fails_with_are_dropped(machine: Machine) -> None:
    machine.start()
    [before] = machine.files().values()

    def fails(cache: FakeCache) -> None:
        if cache.kernels:
            raise RuntimeError("an internal error")

    def prepare(package: FakePackage) -> None:
        package.dies_of = fails

    assert len(machine.start(prepare).compiled) == 3
    assert list(machine.files().values()) == [before]  # the same kernels, of this process
    assert len(machine.start(prepare).compiled) == 3


@pytest.mark.parametrize("what", ["create_runtime_cache", "set_runtime_cache", "serialize", "deserialize"])
@pytest.mark.parametrize("how", ["raises", "gives nothing"])
def test_a_package_that_keeps_none_loads_the_engine_all_the_same(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str, how: str
) -> None:
    from tests.unit.engines.runtimes.tensorrt import fake_gpu

    machine.start()

    def fail(*_: object) -> None:
        if how == "raises":
            raise RuntimeError("an internal error")

    owner = FakeCache if hasattr(FakeCache, what) else fake_gpu.FakeConfig
    monkeypatch.setattr(owner, what, fail)
    machine.start()


def test_an_engine_that_gets_no_context_says_so_with_and_without_kernels(machine: Machine) -> None:
    def never(_: FakeCache) -> None:
        raise EngineError("no context")

    def prepare(package: FakePackage) -> None:
        package.dies_of = never

    for _ in range(2):
        with pytest.raises(EngineError, match="no context"):
            machine.start(prepare)
        machine.start()


def test_tensorrt_11_makes_no_kernels_and_keeps_none(machine: Machine) -> None:
    machine.start(ahead=False)
    assert not machine.kept.folder.path.exists()


def test_a_folder_that_others_may_write_is_not_used(machine: Machine) -> None:
    machine.start()
    machine.kept.folder.path.chmod(0o777)
    assert len(machine.start().compiled) == 3


def test_after_a_crash_on_kernels_the_next_start_goes_without_them(machine: Machine, make_graph: Graph) -> None:
    machine.start()
    [name] = machine.files()
    plan = machine.kept.folder.path.parent / "plan"
    plan.write_bytes(make_graph())
    code = f"""
import os, pathlib, signal
from tests.unit.engines.conftest import DOUBLER
from tests.unit.engines.runtimes.tensorrt.test_kernels import Machine
def crash(cache):
    if cache.kernels:
        os.kill(os.getpid(), signal.SIGSEGV)
def prepare(package):
    package.dies_of = crash
folder = pathlib.Path({str(machine.kept.folder.path)!r})
print(len(Machine(DOUBLER, pathlib.Path({str(plan)!r}).read_bytes(), folder).start(prepare).compiled))
"""
    first, second = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(2))
    assert (first.returncode, first.stdout) == (-signal.SIGSEGV, ""), first.stderr
    assert (second.returncode, second.stdout) == (0, "3\n"), second.stderr
    assert list(machine.files()) == [name]
    assert not name.endswith(TRYING)
