"""AOTInductor as a runtime of the registry: what it compiles for, and what its engines are bound to.

It compiles the torch module and not its ONNX graph, on the machine at hand: for its CPU, or for its GPU, whatever
architecture that is. A package is native code, and its weights are within; torch is needed to run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from engines.errors import EngineUnfit
from engines.kept import Kept
from engines.runtimes.aotinductor import compiling
from engines.runtimes.aotinductor.runner import AotInductorRunner
from engines.runtimes.base import DeviceMemory, Runner, Source, Tell
from engines.runtimes.native import NativeRuntime
from engines.spec import ComponentSpec, EngineSpec
from engines.weights import Weights

CPU: Final = "cpu"


class AotInductor(NativeRuntime):
    """Implements `Runtime`; a package is bound to torch's own libraries."""

    name = "aotinductor"
    distribution = "torch"
    suffix = ".pt2"

    @property
    def devices(self) -> tuple[str, ...]:
        """The GPU at hand, if there is one, and the CPU."""
        here = self.here()
        return (CPU,) if here in (CPU, None) else (str(here), CPU)

    def here(self) -> str | None:
        """The first GPU, `sm90` or its like, else the CPU; None without torch."""
        try:
            self.version()
        except ImportError:
            return None
        import torch

        if not torch.cuda.is_available():
            return CPU
        return "sm{}{}".format(*torch.cuda.get_device_capability())

    def runs(self, device: str) -> bool:
        """Packages for the CPU run beside a GPU, too."""
        return device == CPU or super().runs(device)

    def targets(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Those that are named, else the GPU at hand, else the CPU. Raises `EngineUnfit` for what is not here."""
        unknown = [device for device in asked if device not in self.devices]
        if unknown:
            raise EngineUnfit(
                f"aotinductor compiles for the machine at hand, here {', '.join(self.devices)}, not for "
                f"{', '.join(unknown)}: build there"
            )
        return tuple(dict.fromkeys(asked)) or self.devices[:1]

    def memory(self, device: str) -> DeviceMemory | None:
        """The GPU's, as torch tells it; None for the CPU."""
        if device == CPU or not self.runs(device):
            return None
        import torch

        return DeviceMemory(*torch.cuda.mem_get_info())

    def version(self) -> str:
        """Of torch, without its build (`+cpu`)."""
        try:
            return version("torch").partition("+")[0]
        except PackageNotFoundError as error:
            raise ImportError("torch is not installed") from error

    def compile(self, source: Source, spec: EngineSpec, tell: Tell) -> bytes:
        """A package. Raises `EngineUnfit` for what torch cannot export or compile."""
        return compiling.compiled(source.module(), spec, tell, on="cpu" if spec.device == CPU else "cuda")

    def runner(
        self,
        component: ComponentSpec,
        engine: bytes,
        *,
        threads: int,
        weights: Weights | None = None,  # noqa: ARG002 - they are within
        device: str | None = None,  # noqa: ARG002 - a package knows its own
        kept: Kept | None = None,  # noqa: ARG002
    ) -> Runner:
        """An `AotInductorRunner`; threads are for a package of the CPU."""
        return AotInductorRunner(component, engine, threads=threads)
