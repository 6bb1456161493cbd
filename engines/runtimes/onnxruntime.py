"""ONNX Runtime on the CPU: the engine is the portable graph itself, run from bytes that the store has checked.

Results are the same from run to run for one version, thread count and processor: kernels are deterministic
and work is split by a fixed number of threads, which do not spin between calls (several engines share the
cores).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines import references
from engines.errors import EngineCorrupt
from engines.runtimes.base import Arrays, Runner, Runtime, Source, Tell
from engines.spec import OPSET, ComponentSpec, EngineSpec
from engines.weights import Weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxRuntime(Runtime):
    """Implements `Runtime`; nothing is compiled."""

    name = "onnxruntime"
    distribution = "onnxruntime"
    devices = ("cpu",)
    suffix = ".onnx"
    loads = ("1.31", "2")
    """It promises to go on running old opsets; `verify` shows it for the one installed."""
    takes_weights_beside = True

    def no_precision(self, precision: str, device: str) -> str | None:  # noqa: ARG002
        """It has no kernels of bfloat16 here; where it has none of float16, it computes in float32 between casts."""
        if precision == "bfloat16":
            return "ONNX Runtime has no kernels of bfloat16 on the CPU: take fp16, or fp32, which is no slower there"
        return None

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
        self, component: ComponentSpec, engine: bytes, *, threads: int, weights: Weights | None = None
    ) -> Runner:
        """An `OnnxRuntimeRunner`."""
        return OnnxRuntimeRunner(component, engine, threads=threads, weights=weights)


class OnnxRuntimeRunner(Runner):
    """One ONNX graph. Calls from several threads run at the same time, on the session's own pool."""

    def __init__(self, component: ComponentSpec, graph: bytes, *, threads: int, weights: Weights | None = None) -> None:
        """`threads` computes one operator together; at least 1.

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
        session = onnxruntime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])
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
