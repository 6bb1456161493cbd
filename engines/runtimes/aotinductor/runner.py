"""Runs a package of AOTInductor, on the device that it was compiled for; `runtime.py` makes the runner.

Outputs that are made for the component's next call (`ComponentSpec.carried`) stay on the GPU.
"""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineCorrupt, EngineDeviceAbsent, EngineError
from engines.runtimes.aotinductor.compiling import FACE, exact, quiet
from engines.runtimes.base import Arrays, Runner
from engines.runtimes.native import OnDevice
from engines.spec import ComponentSpec

if TYPE_CHECKING:
    from torch import Tensor


class AotInductorRunner(Runner):
    """One package. Calls wait for each other."""

    def __init__(self, component: ComponentSpec, package: bytes, *, threads: int) -> None:
        """`threads` of the CPU compute one call together; at least 1."""
        super().__init__(component)
        if threads < 1:
            raise ValueError(f"threads: {threads}; at least 1")
        self._package = package
        self._threads = threads
        self._lock = threading.Lock()
        self._model: Any = None
        self._device = ""

    def _load(self) -> None:
        import torch
        from torch._inductor import aoti_load_package

        with tempfile.TemporaryDirectory(prefix="longtake-aotinductor-") as folder, quiet():
            path = Path(folder, f"{self.component.name}.pt2")
            path.write_bytes(self._package)
            try:
                model = aoti_load_package(str(path))
            except RuntimeError as error:
                if "CUDA" in str(error) and not torch.cuda.is_available():
                    raise EngineDeviceAbsent(
                        f"{self.component.name}: the engine is for a GPU, and here is none"
                    ) from error
                raise EngineCorrupt(f"{self.component.name}: torch does not load the package: {error}") from error
        said = model.get_metadata()
        face = self.component.to_json()
        if json.loads(said.get(FACE, "null")) != face:
            raise EngineCorrupt(f"{self.component.name}: the package is of another face than its spec: build it again")
        self._model, self._device = model, said["AOTI_DEVICE_KEY"]
        if self._device != "cpu":
            exact()

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        import torch

        with self._lock, torch.inference_mode():
            if self._model is None:
                raise RuntimeError(f"{self.component.name}: not loaded")
            if torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)
            try:
                given = [self._placed(inputs[tensor.name]) for tensor in self.component.inputs]
                results = self._model(*given)
                found = {
                    tensor.name: self._fetched(tensor.name, result)
                    for tensor, result in zip(
                        self.component.outputs,
                        results if isinstance(results, (list, tuple)) else [results],
                        strict=True,
                    )
                }
            except RuntimeError as error:  # torch's own, of a GPU that fails or has no room
                raise EngineError(f"{self.component.name}: the engine did not run: {error}") from error
        return cast(dict[str, NDArray[np.generic]], found)

    def _placed(self, value: object) -> Tensor:
        import torch

        if isinstance(value, KeptTensor):
            return value.tensor
        return torch.from_numpy(np.ascontiguousarray(cast(NDArray[np.generic], value))).to(self._device)

    def _fetched(self, name: str, result: Tensor) -> NDArray[np.generic] | OnDevice:
        if self._device != "cpu" and name in self.component.carried:
            return KeptTensor(result)
        return cast(NDArray[np.generic], result.cpu().numpy())

    def _unload(self) -> None:
        with self._lock:
            self._model, self._device = None, ""


class KeptTensor(OnDevice):
    """An output that stayed on the GPU, where it is a tensor to any package."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tuple(tensor.shape), np.dtype(str(tensor.dtype).removeprefix("torch.")))
        self.tensor = tensor

    def fetch(self) -> NDArray[np.generic]:
        """A copy of it."""
        values: NDArray[np.generic] = self.tensor.cpu().numpy()
        return values
