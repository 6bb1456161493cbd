"""The benchmark takes what the registry has for a CPU, by no name of its own."""

from __future__ import annotations

from engines.runtimes.onnxruntime import OnnxRuntime
from engines.runtimes.registry import SHIPPED, Runtimes
from loadtests.compute import runtimes


class Another(OnnxRuntime):
    """Installed, and not for the CPU alone."""

    name = "another"
    devices = ("sm89", "cpu")


class ForGpus(OnnxRuntime):
    """Compiles for no CPU."""

    name = "for_gpus"
    devices = ("sm89",)


class NotInstalled(OnnxRuntime):
    """Would compile for the CPU."""

    name = "not_installed"

    def version(self) -> str:
        raise ImportError(self.name)


def test_those_that_compile_for_a_cpu_are_measured_and_those_that_are_not_installed_are_told() -> None:
    kinds = (Another, ForGpus, NotInstalled)
    found = runtimes.for_cpu(Runtimes({kind.name: f"{kind.__module__}:{kind.__name__}" for kind in kinds}))

    assert [runtime.name for runtime in found.installed] == ["another"]
    assert [runtime.name for runtime in found.absent] == ["not_installed"]


def test_the_runtime_that_serves_by_default_is_among_them() -> None:
    assert SHIPPED.default() in runtimes.for_cpu().installed
