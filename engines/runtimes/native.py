"""What runtimes share whose engines are native code, those of `aotinductor` and of `tensorrt`.

Such an engine is read by the version that made it, and computes in half precision too. What it gives to its own next
call can stay on the GPU.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.runtimes.base import Runtime


class NativeRuntime(Runtime):
    """A runtime whose engines are bound to its exact version, and have all weights within."""

    reads_weights_beside = True

    @property
    def loads(self) -> tuple[str, str]:
        """The installed version and no other; that of a pre-release (`2.9.0a0`) goes with its release."""
        version = self.version()
        numbers = re.match(r"(?:\d+\.)*\d+", version)
        if numbers is None:
            raise ValueError(f"{self.name}: its version is {version!r}, which begins with no number")
        *front, last = numbers[0].split(".")
        return version, ".".join([*front, str(int(last) + 1)])

    def bound_to(self) -> str:
        """Name and exact version."""
        return f"{self.name}-{self.version()}"

    def no_precision(self, precision: str, device: str) -> str | None:
        """All of them, but that Turing has no bfloat16."""
        if precision == "bfloat16" and device == "sm75":
            return "sm75 has no bfloat16: take fp16"
        return None


class OnDevice(ABC):
    """An output that stayed on the GPU: an array to who looks into it, and its own to the engine that made it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        """As of an array."""
        return len(self.shape)

    @abstractmethod
    def fetch(self) -> NDArray[np.generic]:
        """A copy of it in the host's memory. Raises `EngineError` where it is gone."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.generic]:
        if copy is False:
            raise ValueError("it lies on the GPU: without a copy nobody sees it")
        values = self.fetch()
        return values if dtype is None else values.astype(dtype, copy=False)
