"""A GPU without one: memory and a stream that count themselves, and NVIDIA's package whose plans are ONNX graphs.

Native calls begin where these two stand. All above them is real: what is asked of the stream is done when somebody
waits, as a GPU may do it, so what is let go of too early, fetched too early or never given back is found out.
"""

from __future__ import annotations

import itertools
import json
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engines.errors import EngineError

STREAM = 7
Shape = tuple[int, ...]


class FakeDevice:
    """Implements `cuda.Device`."""

    def __init__(self) -> None:
        self.stream = STREAM
        self.kind = "sm89-cuda13000"
        self.memory: dict[int, bytearray] = {}
        self.sent = 0
        """Bytes that went to the GPU, and back."""
        self.fetched = 0
        self.broken = False
        self.closed = False
        self._addresses = itertools.count(4096, 4096)
        self._asked: list[Callable[[], None]] = []

    def take(self, size: int) -> int:
        address = next(self._addresses)
        self.memory[address] = bytearray(max(size, 1))
        return address

    def give(self, address: int) -> None:
        assert address in self.memory, "given back twice, or never taken"
        self.later(lambda: void(self.memory.pop(address)))

    def put(self, address: int, values: NDArray[np.generic]) -> None:
        alive = weakref.ref(values)
        self.sent += values.nbytes

        def copy() -> None:
            there = alive()
            assert there is not None, "the array went before the GPU had read it"
            self.memory[address][: there.nbytes] = there.tobytes()

        self.later(copy)

    def fetch(self, values: NDArray[np.generic], address: int) -> None:
        self.fetched += values.nbytes

        def copy() -> None:
            values[...] = np.frombuffer(self.memory[address][: values.nbytes], values.dtype).reshape(values.shape)

        self.later(copy)

    def later(self, work: Callable[[], None]) -> None:
        assert not self.closed, "the stream is closed"
        self._asked.append(work)

    def wait(self) -> None:
        if self.broken:
            raise EngineError("CUDA: an illegal memory access was encountered")
        asked, self._asked = self._asked, []
        for work in asked:
            work()

    def close(self) -> None:
        self.closed = True


class FakePackage:
    """The module `tensorrt_rtx` (or `tensorrt`, not `ahead`), as far as a runner asks it."""

    ILogger = type("ILogger", (), {"WARNING": 2})
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    __version__ = "1.7.1.116"

    def __init__(self, device: FakeDevice, *, ahead: bool = True) -> None:
        self.device = device
        self.validity: tuple[str, int] = ("VALID", 0)
        self.refuses = False
        self.fails = False
        self.strategies: list[object] = []
        self.compiled: list[str] = []
        """Kernels that were made, and were not in a cache."""
        self.machine = "this driver"
        self.dies_of: Callable[[FakeCache], None] = void
        """What a context does to who makes it, with these kernels."""
        if ahead:
            self.ComputeCapability = object()
            self.EngineValidity = SimpleNamespace(INVALID="INVALID")
            reasons = {"UNSUPPORTED_CC": 2, "INSUFFICIENT_GPU_MEMORY": 8}
            self.EngineInvalidityDiagnostics = SimpleNamespace(__members__=reasons)
            self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")

    def nptype(self, dtype: str) -> type:
        types: dict[str, type] = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        return types[dtype]

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        def read(plan: bytes) -> FakeEngine | None:
            if self.refuses:
                log.log(1, "it was made by another version")
            return None if self.refuses else FakeEngine(self, plan)

        return SimpleNamespace(
            engine_header_size=64, get_engine_validity=lambda head: self.validity, deserialize_cuda_engine=read
        )


class FakeEngine:
    def __init__(self, package: FakePackage, plan: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.package = package
        self.session = onnxruntime.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        self.tensors = {
            **{value.name: ("in", value.type) for value in self.session.get_inputs()},
            **{value.name: ("out", value.type) for value in self.session.get_outputs()},
        }
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.tensors)[index])

    def get_tensor_mode(self, name: str) -> str:
        return str(self.tensors[name][0])

    def get_tensor_dtype(self, name: str) -> str:
        return str(self.tensors[name][1])

    def create_runtime_config(self) -> FakeConfig:
        return FakeConfig(self.package)

    def create_execution_context(self, config: FakeConfig) -> FakeContext:
        self.package.strategies.append(vars(config).get("dynamic_shapes_kernel_specialization_strategy"))
        self.package.dies_of(config.cache)
        return FakeContext(self, config.cache)


class FakeConfig:
    def __init__(self, package: FakePackage) -> None:
        self._package = package
        self.cache = FakeCache(package)

    def create_runtime_cache(self) -> FakeCache:
        return FakeCache(self._package)

    def set_runtime_cache(self, cache: FakeCache) -> bool:
        self.cache = cache
        return True


class FakeCache:
    """Names of kernels, and the machine that they are for."""

    def __init__(self, package: FakePackage) -> None:
        self._package = package
        self.kernels: list[str] = []

    def need(self, kernel: str) -> None:
        """Make it, unless it is there."""
        if kernel not in self.kernels:
            self.kernels.append(kernel)
            self._package.compiled.append(kernel)

    def serialize(self) -> memoryview:
        return memoryview(json.dumps([self._package.machine, self.kernels]).encode())

    def deserialize(self, blob: bytes) -> bool:
        machine, kernels = json.loads(blob)
        if machine == self._package.machine:
            self.kernels = kernels
        return bool(machine == self._package.machine)


class FakeContext:
    def __init__(self, engine: FakeEngine, cache: FakeCache) -> None:
        self._engine = engine
        self._cache = cache
        cache.need("context")
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._sizes: dict[tuple[tuple[str, Shape], ...], dict[str, Shape]] = {}

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        self._shapes[name] = tuple(shape)
        return 0 not in shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name, (mode, _) in self._engine.tensors.items() if mode == "in" and name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Shape:
        key = tuple(sorted(self._shapes.items()))
        if key not in self._sizes:
            zeros = {name: np.zeros(shape, self._dtype(name)) for name, shape in self._shapes.items()}
            self._sizes[key] = {name: value.shape for name, value in self._compute(zeros).items()}
        return self._sizes[key][name]

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == STREAM
        package, shapes, addresses = self._engine.package, dict(self._shapes), dict(self._addresses)
        self._cache.need(str(shapes))

        def run() -> None:
            memory, inputs = package.device.memory, {}
            for name, shape in shapes.items():
                flat = np.frombuffer(memory[addresses[name]], np.uint8)
                dtype = self._dtype(name)
                inputs[name] = flat[: int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
            for name, value in self._compute(inputs).items():
                memory[addresses[name]][: value.nbytes] = value.tobytes()

        package.device.later(run)
        return not package.fails

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(self._engine.package.nptype(self._engine.get_tensor_dtype(name)))

    def _compute(self, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        names = [name for name, (mode, _) in self._engine.tensors.items() if mode == "out"]
        return dict(zip(names, self._engine.session.run(names, inputs), strict=True))


def void(_: object) -> None:
    """Let go of it."""
