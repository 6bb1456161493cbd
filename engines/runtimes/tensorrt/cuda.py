"""The GPU, as far as an engine needs it: is there one, which, memory on it, and a stream.

`runtime.py` asks what is here, `runner.py` holds a `Device`. All through `cuda-bindings`, which can be imported without
a driver.
"""

from __future__ import annotations

import importlib
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineDeviceAbsent, EngineError
from engines.runtimes.base import DeviceMemory

INSTALL: Final = "pip install cuda-bindings"


def target() -> str | None:
    """The first GPU's architecture, `sm89` or its like; None without a driver, a GPU or `cuda-bindings`."""
    try:
        cudart = _cudart()
        count = _answer(cudart, cudart.cudaGetDeviceCount())
    except EngineError:
        return None
    if not count:
        return None
    attributes = cudart.cudaDeviceAttr
    major, minor = (
        _answer(cudart, cudart.cudaDeviceGetAttribute(attribute, 0))
        for attribute in (attributes.cudaDevAttrComputeCapabilityMajor, attributes.cudaDevAttrComputeCapabilityMinor)
    )
    return f"sm{major}{minor}"


def kind() -> str | None:
    """What native code for the first GPU is bound to: its architecture, and what its driver knows of CUDA
    (`sm89-cuda13000`). None as of `target`."""
    here = target()
    if here is None:
        return None
    cudart = _cudart()
    return f"{here}-cuda{_answer(cudart, cudart.cudaDriverGetVersion())}"


def memory() -> DeviceMemory:
    """Of the first GPU. Raises `EngineError`, as `target` does not."""
    cudart = _cudart()
    status, free, total = cudart.cudaMemGetInfo()
    _answer(cudart, (status,))
    return DeviceMemory(free, total)


class Device(Protocol):
    """Memory of a GPU and one stream on it. What is asked is done in order; addresses are the GPU's."""

    stream: int
    kind: str
    """As of the function `kind`."""

    def take(self, size: int) -> int:
        """Memory of so many bytes."""

    def give(self, address: int) -> None:
        """Let go of it, after all that was asked before."""

    def put(self, address: int, values: NDArray[np.generic]) -> None:
        """Copy to the GPU; the array must stay until `wait` has returned."""

    def fetch(self, values: NDArray[np.generic], address: int) -> None:
        """Copy from the GPU; the values are there when `wait` has returned."""

    def wait(self) -> None:
        """Until all that was asked is done. Raises `EngineError` for what went wrong on the GPU."""

    def close(self) -> None:
        """Let go of the stream."""


class Cuda:
    """Implements `Device` on the first GPU. Methods raise `EngineError` with CUDA's own words."""

    def __init__(self) -> None:
        """Raises `EngineDeviceAbsent` without a driver or a GPU."""
        here = kind()
        if here is None:
            raise EngineDeviceAbsent(f"no GPU that CUDA can use: a driver and a card are needed, and `{INSTALL}`")
        self.kind = here
        self._cudart = _cudart()
        self.stream = int(self._ask("cudaStreamCreate"))

    def take(self, size: int) -> int:
        """From the stream's pool, which keeps what was given back."""
        return int(self._ask("cudaMallocAsync", max(size, 1), self.stream))

    def give(self, address: int) -> None:
        """To the pool."""
        self._ask("cudaFreeAsync", address, self.stream)

    def put(self, address: int, values: NDArray[np.generic]) -> None:
        """On the stream."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ask("cudaMemcpyAsync", address, values.ctypes.data, values.nbytes, kind, self.stream)

    def fetch(self, values: NDArray[np.generic], address: int) -> None:
        """On the stream."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ask("cudaMemcpyAsync", values.ctypes.data, address, values.nbytes, kind, self.stream)

    def wait(self) -> None:
        """For the stream."""
        self._ask("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        """Destroy the stream."""
        self._ask("cudaStreamDestroy", self.stream)

    def _ask(self, call: str, *arguments: object) -> Any:
        return _answer(self._cudart, getattr(self._cudart, call)(*arguments))


def _cudart() -> Any:
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise EngineDeviceAbsent(
            f"a GPU is reached through cuda-bindings, which is not installed: {INSTALL}"
        ) from error


def _answer(cudart: Any, result: tuple[Any, ...]) -> Any:
    """What a call gave. Raises `EngineError`."""
    status, *rest = result
    if status != cudart.cudaError_t.cudaSuccess:
        _, words = cudart.cudaGetErrorString(status)
        raise EngineError(f"CUDA: {words.decode()}")
    return rest[0] if rest else None
