"""Runs one plan on the GPU: one context, called by one thread at a time. `runtime.py` makes it.

What a component hands to its own next call (an output `cache` beside an input `cache_in`) stays on the GPU: the caller
gets an `OnDevice`, which is copied only if somebody looks into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.kept import Kept
from engines.runtimes.base import Arrays, Runner
from engines.runtimes.tensorrt.cuda import Cuda, Device
from engines.runtimes.tensorrt.loaded import Loaded
from engines.spec import ComponentSpec


class TensorRtRunner(Runner):
    """One engine of `tensorrt` or `tensorrt_rtx`."""

    def __init__(
        self,
        component: ComponentSpec,
        plan: bytes,
        library: Callable[[], Any],
        *,
        device: Callable[[], Device] = Cuda,
        kept: Kept | None = None,
    ) -> None:
        """`library` gives the package's module, `device` the GPU; both are asked by `activate`. In `kept` the kernels
        are kept that TensorRT-RTX makes."""
        super().__init__(component)
        self._plan = plan
        self._library = library
        self._device = device
        self._kept = kept
        self._loaded: Loaded | None = None

    def _load(self) -> None:
        device = self._device()  # before the library: without a driver TensorRT 11's runtime crashes the process
        try:
            self._loaded = Loaded(self._library(), self.component, self._plan, device, self._kept)
        except BaseException:
            device.close()
            raise

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        if self._loaded is None:
            raise RuntimeError(f"{self.component.name}: not loaded")
        return self._loaded.run(inputs)

    def _unload(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()
