"""A plan on the GPU: its context, its memory, and the calls. `runner.py` holds one while it is active."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineCorrupt, EngineDeviceAbsent, EngineError
from engines.kept import Kept
from engines.runtimes.base import Arrays
from engines.runtimes.native import OnDevice
from engines.runtimes.tensorrt.cuda import Device
from engines.runtimes.tensorrt.kernels import config_of, kernels_of
from engines.runtimes.tensorrt.log import logger
from engines.spec import ComponentSpec, TensorSpec

Shape = tuple[int, ...]


class Loaded:
    """One engine and its one context; calls wait for each other."""

    def __init__(
        self, trt: Any, component: ComponentSpec, plan: bytes, device: Device, kept: Kept | None = None
    ) -> None:
        """Raises `EngineDeviceAbsent` for a GPU that the plan is not for, `EngineCorrupt` for another face."""
        self._component = component
        self._device = device
        self._log = logger(trt)  # it must outlive the runtime
        self._runtime = trt.Runtime(self._log)
        ahead = hasattr(trt, "ComputeCapability")  # TensorRT-RTX: kernels are made where it runs
        if ahead:
            _check_header(trt, self._runtime, component, plan)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineDeviceAbsent(f"{component.name}: this GPU does not take the engine: {self._log.text()}")
        _compare(trt, self._engine, component)
        self._kernels = kernels_of(trt, device.kind, kept) if ahead else None
        self._context: Any = self._kernels.context(trt, self._engine) if self._kernels else None
        if self._context is None:
            self._context = self._engine.create_execution_context(config_of(trt, self._engine))
        if self._context is None:
            raise EngineError(f"{component.name}: no context for the engine: {self._log.text()}")
        self._lock = threading.Lock()
        self._buffers: dict[str, tuple[int, int]] = {}
        """By tensor: address and bytes; they grow to the largest shape that came."""
        self._carried: dict[int, None] = {}
        """Addresses that a `KeptOutput` stands for."""
        self._calls = 0

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """One call. Raises `ValueError` for shapes that the engine does not take, `EngineError` if the GPU fails."""
        with self._lock:
            sent = [self._bind_input(name, value) for name, value in inputs.items()]
            missing = self._context.infer_shapes()
            if missing:
                raise ValueError(f"{self._component.name}: shapes do not settle {', '.join(missing)}")
            results = {tensor.name: self._bind_output(tensor) for tensor in self._component.outputs}
            if not self._context.execute_async_v3(self._device.stream):
                raise EngineError(f"{self._component.name}: the engine did not run: {self._log.text()}")
            for name, result in results.items():
                if not isinstance(result, OnDevice):
                    self._device.fetch(result, self._buffers[name][0])
            self._device.wait()
            del sent  # until here the GPU may have read them
            self._keep_kernels()
            return cast(dict[str, NDArray[np.generic]], results)

    def _keep_kernels(self) -> None:
        """Shapes that come for the first time have kernels of their own. Which those are is not asked: it is looked
        after calls 1, 2, 4, 8 and so on."""
        self._calls += 1
        if self._kernels is not None and self._calls & (self._calls - 1) == 0:
            self._kernels.keep()

    def _bind_input(self, name: str, value: object) -> object:
        """Place an input; what is returned must live until the GPU has read it."""
        if isinstance(value, KeptOutput) and value.of(self):
            self._shape_input(name, value.shape)
            self._context.set_tensor_address(name, value.address)
            return value
        host: NDArray[np.generic] = np.asarray(value, order="C")
        self._shape_input(name, host.shape)
        address = self._buffer(name, host.nbytes)
        self._device.put(address, host)
        self._context.set_tensor_address(name, address)
        return host

    def _shape_input(self, name: str, shape: Shape) -> None:
        if not self._context.set_input_shape(name, shape):
            raise ValueError(
                f"{self._component.name}: input {name} of shape {list(shape)} is none that the engine takes"
            )

    def _bind_output(self, tensor: TensorSpec) -> NDArray[np.generic] | OnDevice:
        """Place an output, and what it is fetched into."""
        shape = tuple(int(size) for size in self._context.get_tensor_shape(tensor.name))
        dtype = np.dtype(tensor.dtype)
        size = dtype.itemsize * int(np.prod(shape))
        if tensor.name in self._component.carried:
            address = self._device.take(size)
            self._carried[address] = None
            self._context.set_tensor_address(tensor.name, address)
            return KeptOutput(self, address, shape, dtype)
        self._context.set_tensor_address(tensor.name, self._buffer(tensor.name, size))
        return np.empty(shape, dtype)

    def _buffer(self, name: str, size: int) -> int:
        address, room = self._buffers.get(name, (0, 0))
        if room < size:
            if room:
                self._device.give(address)
                del self._buffers[name]
            address = self._device.take(size)
            self._buffers[name] = (address, size)
        return address

    def fetch(self, values: NDArray[np.generic], address: int) -> None:
        """Copy what a `KeptOutput` stands for. Raises `EngineError` when the engine was let go of."""
        with self._lock:
            if address not in self._carried:
                raise EngineError(f"{self._component.name}: its engine was let go of, and the values with it")
            self._device.fetch(values, address)
            self._device.wait()

    def forget(self, address: int) -> None:
        """Nobody holds the `KeptOutput` any more. Takes no lock: the collector of garbage calls in any thread."""
        try:
            del self._carried[address]
        except KeyError:
            return  # `close` was first
        with suppress(EngineError):  # a GPU that failed says so to the next call
            self._device.give(address)

    def close(self) -> None:
        """Let go of all memory, the context, the engine and the stream. Raises `EngineError` if the GPU has failed."""
        with self._lock, closing(self._device):
            taken = [*self._carried, *(address for address, _ in self._buffers.values())]
            self._carried.clear()
            self._buffers.clear()
            self._context = self._kernels = self._engine = self._runtime = None
            for address in taken:
                self._device.give(address)
            self._device.wait()


class KeptOutput(OnDevice):
    """An output that stayed on the GPU, where it is an address to the engine that made it."""

    def __init__(self, owner: Loaded, address: int, shape: Shape, dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype)
        self._owner = owner
        self.address = address

    def of(self, loaded: Loaded) -> bool:
        """Whether it lies in the memory of this engine."""
        return self._owner is loaded

    def fetch(self) -> NDArray[np.generic]:
        """A copy of it. Raises `EngineError` when the engine was let go of."""
        values = np.empty(self.shape, self.dtype)
        self._owner.fetch(values, self.address)
        return values

    def __del__(self) -> None:
        self._owner.forget(self.address)


def _check_header(trt: Any, runtime: Any, component: ComponentSpec, plan: bytes) -> None:
    """Whether this GPU, driver and version take the plan, from its first bytes: why not, in words."""
    validity, why = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    if validity == trt.EngineValidity.INVALID:
        named = [name for name, flag in trt.EngineInvalidityDiagnostics.__members__.items() if why & int(flag)]
        raise EngineDeviceAbsent(
            f"{component.name}: the engine is none for this machine: {', '.join(named) or 'no driver that can be used'}"
        )


def _compare(trt: Any, engine: Any, component: ComponentSpec) -> None:
    """The plan must be what its spec says: names, directions and types."""
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        given = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        found[name] = (given, np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name)
    said = {
        tensor.name: (given, tensor.dtype)
        for given, tensors in ((True, component.inputs), (False, component.outputs))
        for tensor in tensors
    }
    if found != said:
        raise EngineCorrupt(f"{component.name}: the plan has {found}, its spec says {said}: build it again")
