"""ONNX Runtime: the engine is the portable graph itself, run from bytes that the store has checked.

On the CPU results are the same from run to run for one version, thread count and processor: kernels are deterministic
and work is split by a fixed number of threads, which do not spin between calls (several engines share the
cores).

On a GPU (`cuda`) it runs by its CUDA provider, which comes with another package of the same module. Where that
provider cannot start, ONNX Runtime goes on without it and says so in a log: here the session is asked what it really
runs on, and a set for `cuda` runs there or not at all. Nothing there is measured or rounded on its own account: no
kernel is chosen by a race, and products of float32 are in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engines import references
from engines.errors import EngineCorrupt, EngineDeviceAbsent
from engines.kept import Kept
from engines.runtimes import driver
from engines.runtimes.base import Arrays, DeviceMemory, Runner, Runtime, Source, Tell
from engines.spec import OPSET, ComponentSpec, EngineSpec
from engines.weights import Weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU: Final = "cpu"
CUDA: Final = "cuda"
_PROVIDERS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    CPU: ("CPUExecutionProvider", {}),
    CUDA: ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
}
_FATAL: Final = 4
"""Of its log's levels. What fails is an exception as well."""
_REMEDY: Final = (
    "`pip uninstall onnxruntime`, then `pip install 'onnxruntime-gpu[cuda,cudnn]>=1.31,<2'` in its place, on a machine "
    "with a NVIDIA GPU and its driver; or set `engines.variant` to engines for this one"
)


class OnnxRuntime(Runtime):
    """Implements `Runtime`; nothing is compiled. One graph is for every GPU, which `cuda` stands for."""

    name = "onnxruntime"
    distribution = "onnxruntime"
    devices: tuple[str, ...] = (CPU, CUDA)
    suffix = ".onnx"
    loads = ("1.31", "2")
    """It promises to go on running old opsets; `verify` shows it for the one installed."""
    reads_weights_beside = True
    takes_weights_beside = True

    def no_precision(self, precision: str, device: str) -> str | None:
        """It has no kernels of bfloat16 on the CPU, and not of all that we compute on a GPU; where it has none of
        float16, it computes in float32 between casts."""
        if precision != "bfloat16":
            return None
        if device == CUDA:
            return "ONNX Runtime lacks kernels of bfloat16: take fp16, or another runtime"
        return "ONNX Runtime has no kernels of bfloat16 on the CPU: take fp16, or fp32, which is no slower there"

    def runs(self, device: str) -> bool:
        """Whether the installed package has the provider; whether that finds a GPU shows when an engine is loaded."""
        if device != CUDA:
            return super().runs(device)
        import onnxruntime

        return _PROVIDERS[CUDA][0] in onnxruntime.get_available_providers()

    def remedy(self, device: str) -> str:
        """Another package, on such a machine."""
        return _REMEDY if device == CUDA else super().remedy(device)

    def memory(self, device: str) -> DeviceMemory | None:
        """The GPU's, as its driver tells it; None for the CPU."""
        return driver.memory() if device == CUDA else None

    def version(self) -> str:
        """`onnxruntime.__version__`."""
        import onnxruntime

        return str(onnxruntime.__version__)

    def bound_to(self) -> str:
        """The opset, and no version of the runtime."""
        return f"onnx-opset{OPSET}"

    def compile(self, source: Source, spec: EngineSpec, tell: Tell) -> bytes:  # noqa: ARG002
        """The graph as it is."""
        return source.graph

    def runner(
        self,
        component: ComponentSpec,
        engine: bytes,
        *,
        threads: int,
        weights: Weights | None = None,
        device: str | None = None,
        kept: Kept | None = None,  # noqa: ARG002
    ) -> Runner:
        """An `OnnxRuntimeRunner`."""
        return OnnxRuntimeRunner(component, engine, threads=threads, weights=weights, device=device or CPU)


class OnnxRuntimeRunner(Runner):
    """One ONNX graph. Calls from several threads run at the same time, on the session's own pool."""

    def __init__(
        self,
        component: ComponentSpec,
        graph: bytes,
        *,
        threads: int,
        weights: Weights | None = None,
        device: str = CPU,
    ) -> None:
        """`threads` computes one operator together, on the CPU; at least 1. `device` is one of the runtime's.

        Raises `EngineCorrupt` for a graph with weights elsewhere than in itself and in the files of `weights`.
        """
        super().__init__(component)
        if threads < 1:
            raise ValueError(f"threads: {threads}; at least 1")
        wrong = list(references.problems(graph, weights.files if weights else ()))
        if wrong:
            raise EngineCorrupt(f"{component.name}: {'; '.join(wrong)}: build it again")
        self._graph = graph
        self._folder = weights.folder if weights else None
        self._threads = threads
        self._device = device
        self._session: InferenceSession | None = None
        self._outputs = [tensor.name for tensor in component.outputs]

    def _load(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        if self._folder is not None:
            # Mapped, and let go tensor by tensor as they are packed: a load takes the weights' size once.
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(self._folder.resolve())
            )
        provider, choices = _PROVIDERS[self._device]
        if self._device == CUDA:
            with redirect_stdout(sys.stderr):  # it prints what it does not find
                onnxruntime.preload_dlls()
            # It tells of each way to compute a convolution that cuDNN does not take, before it takes another.
            onnxruntime.set_default_logger_severity(_FATAL)
        session = onnxruntime.InferenceSession(self._graph, options, providers=[(provider, dict(choices))])
        if (found := session.get_providers())[0] != provider:
            raise EngineDeviceAbsent(
                f"{self.component.name}: its engine is for {self._device}, and ONNX Runtime would run it by "
                f"{found[0]}: {_REMEDY}"
            )
        self._compare(session)
        self._session = session

    def _compare(self, session: InferenceSession) -> None:
        """The graph must be what its spec says: names and types, in any order."""
        found = {value.name: value.type for value in (*session.get_inputs(), *session.get_outputs())}
        said = {
            tensor.name: "tensor(float)" if tensor.dtype == "float32" else f"tensor({tensor.dtype})"
            for tensor in (*self.component.inputs, *self.component.outputs)
        }
        if found != said:
            raise ValueError(f"{self.component.name}: the graph has {found}, its spec says {said}: build it again")

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        if self._session is None:
            raise RuntimeError(f"{self.component.name}: not loaded")
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))

    def _unload(self) -> None:
        self._session = None
