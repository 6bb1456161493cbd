"""The two runtimes of the registry: what each compiles for, and what its engines are bound to.

The packages share all names that are used here. They differ in where they compile: TensorRT times kernels on the GPU
at hand, TensorRT-RTX compiles on any machine for the targets that are named, and makes the kernels when an engine is
loaded.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from engines.errors import EngineUnfit
from engines.kept import Kept, KeptFile
from engines.runtimes.base import DeviceMemory, Graph, Runner, Source, Tell
from engines.runtimes.native import NativeRuntime
from engines.runtimes.tensorrt import compiling, cuda, refusals
from engines.runtimes.tensorrt.request import Request
from engines.runtimes.tensorrt.runner import TensorRtRunner
from engines.spec import ComponentSpec, EngineSpec
from engines.weights import Weights

RTX_TARGETS: Final = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""What TensorRT-RTX has a compute capability for; Hopper (sm90) is not among them."""


class _Compiler(NativeRuntime):
    """What both have in common."""

    suffix = ".plan"

    def version(self) -> str:
        """`__version__` of the package."""
        return str(self.library().__version__)

    def library(self) -> Any:
        """The package's module. Raises `ImportError`."""
        return importlib.import_module(self.name)

    def here(self) -> str | None:
        """The first GPU, `sm89` or its like; None without a driver or a GPU."""
        return cuda.target()

    def memory(self, device: str) -> DeviceMemory | None:
        """The GPU's, where it is such a one."""
        return cuda.memory() if self.runs(device) else None

    def refusals(self, read: Callable[[], Graph], device: str) -> Iterator[str]:
        """See `refusals.py`."""
        return refusals.of(read(), device, rtx=self.name == TensorRtRtx.name)

    def compile(self, source: Source, spec: EngineSpec, tell: Tell) -> bytes:
        """A plan, from a child process. Raises `EngineUnfit` for what is refused, and for a compiler that dies."""
        request = Request(module=self.name, component=spec.component, target=self.capability(spec.device))
        return compiling.compile_in_child(
            request, source.graph, tell, weights=source.weights, timings=self.timings(source.kept)
        ).plan

    def runner(
        self,
        component: ComponentSpec,
        engine: bytes,
        *,
        threads: int,  # noqa: ARG002
        weights: Weights | None = None,  # noqa: ARG002
        device: str | None = None,  # noqa: ARG002
        kept: Kept | None = None,
    ) -> Runner:
        """A `TensorRtRunner`; threads of the CPU do nothing for it, and a plan has its weights inside."""
        return TensorRtRunner(component, engine, self.library, kept=kept)

    @abstractmethod
    def capability(self, device: str) -> int | None:
        """The compute capability that the compiler is told: 89 for sm89."""

    @abstractmethod
    def timings(self, kept: Kept | None) -> KeptFile | None:
        """Where it keeps how fast kernels were on this GPU; None where it times none."""


class TensorRt(_Compiler):
    """Implements `Runtime` by TensorRT 11: it compiles on the GPU that it compiles for."""

    name = "tensorrt"
    distribution = "tensorrt"

    @property
    def devices(self) -> tuple[str, ...]:
        """The GPU at hand, if there is one."""
        here = self.here()
        return (here,) if here else ()

    def targets(self, asked: Sequence[str]) -> tuple[str, ...]:
        """The GPU at hand. Raises `EngineUnfit` for another, and without one."""
        here = self.here()
        if here is None:
            raise EngineUnfit("tensorrt compiles on the GPU that it compiles for, and here is none: build there")
        if set(asked) - {here}:
            raise EngineUnfit(f"tensorrt compiles on the GPU that it compiles for: here {here}, not {', '.join(asked)}")
        return (here,)

    def capability(self, device: str) -> int | None:  # noqa: ARG002
        """None is told: it looks at the GPU."""
        return None

    def timings(self, kept: Kept | None) -> KeptFile | None:
        """One file of each GPU and version, for whatever is built."""
        here = cuda.kind()
        return kept.file("timings", f"{here}-{self.version()}") if kept and here else None


class TensorRtRtx(_Compiler):
    """Implements `Runtime` by TensorRT-RTX: it compiles anywhere, without a GPU too.

    One plan could be for several targets. Ours is for one: kernels are made on the GPU that runs it, so each GPU gives
    bytes of its own, and engines whose bytes differ have different keys.
    """

    name = "tensorrt_rtx"
    distribution = "tensorrt-rtx"
    devices = RTX_TARGETS

    def targets(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Those that are named, else the GPU at hand. Raises `EngineUnfit`."""
        here = self.here()
        wanted = tuple(dict.fromkeys(asked)) or ((here,) if here else ())
        if not wanted:
            raise EngineUnfit(f"tensorrt_rtx: here is no GPU, so name one: --target {', '.join(RTX_TARGETS)}")
        unknown = [target for target in wanted if target not in RTX_TARGETS]
        if unknown:
            raise EngineUnfit(
                f"tensorrt_rtx has no target {', '.join(unknown)}; it has {', '.join(RTX_TARGETS)} "
                "(H100 and its like: --runtime tensorrt, on such a GPU)"
            )
        return wanted

    def capability(self, device: str) -> int | None:
        """The number in its name."""
        return int(device.removeprefix("sm"))

    def timings(self, kept: Kept | None) -> None:
        """It times no kernels."""
