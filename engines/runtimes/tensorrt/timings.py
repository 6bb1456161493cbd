"""How fast kernels were in earlier builds on this GPU, so that TensorRT 11 does not time them again.

`compiler.py` asks, in the process that compiles. What does not fit this GPU or version is not used: the package checks
that itself, and starts with nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


class Timings:
    """Those of one build: they are read from a file, and written there after it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cache: Any = None
        """The package's own, which must outlive the build."""

    def give(self, config: Any) -> None:
        """Give a build what is known. Raises nothing: without, it only takes longer."""
        known = self._file.read_bytes() if self._file.is_file() else b""
        for data in dict.fromkeys((known, b"")):
            try:
                cache = config.create_timing_cache(data)
                if cache is not None and config.set_timing_cache(cache, False):  # no other GPU's
                    self._cache = cache
                    return
            except Exception as error:  # noqa: BLE001 - the package's own; this stream is the build's log
                sys.stderr.write(f"timings of earlier builds are not used: {error}\n")

    def take(self) -> None:
        """Write down what the build has found. Raises nothing."""
        if self._cache is not None:
            try:
                self._file.write_bytes(self._cache.serialize())
            except Exception as error:  # noqa: BLE001 - as above
                sys.stderr.write(f"this build's timings are not kept: {error}\n")
