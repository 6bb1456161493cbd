"""The kernels that TensorRT-RTX makes where an engine runs, and how they outlive the process.

They are made when the context is, and when a shape comes for the first time. The package hands them out as bytes, and
takes them back where GPU, driver, system and its own version are the same. What it does not take, or fails with, is
made anew: no engine needs them. `loaded.py` asks.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from engines.kept import Kept, KeptFile, Trial

_LOG: Final = logging.getLogger(__name__)


class Kernels:
    """Those of one engine, and the file that keeps them."""

    def __init__(self, file: KeptFile) -> None:
        self._file = file
        self._cache: Any = None
        """The package's own, which must outlive the context."""

    def context(self, trt: Any, engine: Any) -> Any:
        """A context with the kernels that were kept, as far as they are taken; None where there is none that keeps
        its own."""
        made = None
        with self._file.tried() as trial:  # if native code crashes in here, nobody tries these again
            if trial.data is not None:
                made = self._made(trt, engine, trial)
                if made is None:
                    trial.refuse()
        if made is None:
            made = self._made(trt, engine, None)
        self.keep()
        return made

    def keep(self) -> None:
        """Write them where the next start reads them, if they are others than those that lie there."""
        if self._cache is None:
            return
        try:
            self._file.put(bytes(self._cache.serialize()))
        except Exception as error:  # noqa: BLE001 - the package's own, and none that ends a call
            _LOG.warning("%s: the kernels that were made are not kept: %s", self._file.path, error)

    def _made(self, trt: Any, engine: Any, trial: Trial | None) -> Any:
        try:
            config = config_of(trt, engine)
            cache = config.create_runtime_cache()
            if trial is not None and not cache.deserialize(trial.data):
                trial.refuse()  # of another GPU, driver or version: the cache is as empty as before
            if not config.set_runtime_cache(cache):
                return None
            context = engine.create_execution_context(config)
        except Exception as error:  # noqa: BLE001 - whatever the package raises: it is asked again without
            _LOG.warning("%s: no context that keeps its kernels: %s", self._file.path, error)
            return None
        self._cache = None if context is None else cache
        return context


def kernels_of(trt: Any, kind: str, kept: Kept | None) -> Kernels | None:
    """Those of the engine that `kept` is of, on a GPU and driver of this kind; None where none are kept."""
    return Kernels(kept.file("kernels", f"{kind}-{trt.__version__}")) if kept else None


def config_of(trt: Any, engine: Any) -> Any:
    """How contexts are made."""
    config = engine.create_runtime_config()
    if hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
        # Else the first calls of each shape run on other kernels than later ones, and give other bytes.
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    return config
