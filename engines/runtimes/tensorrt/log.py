"""What NVIDIA's packages say: they answer a wrong call with None, and tell the reason to a logger alone.

`compiler.py` and `loaded.py` make one each, which must outlive all that was made with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

KEPT: Final = 20
"""Lines; a server runs for months."""


def logger(trt: Any, hear: Callable[[str], object] | None = None) -> Any:
    """A logger of this package: `text()` gives the last warnings and errors. `hear` is told every line."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._lines: deque[str] = deque(maxlen=KEPT)

        def log(self, severity: Any, message: str) -> None:
            if hear is not None:
                hear(f"{message}\n")
            if severity <= trt.ILogger.WARNING and "Cuda Runtime" not in message:  # that one only says: no driver
                self._lines.append(message)

        def text(self) -> str:
            return "; ".join(self._lines)

    return Log()
