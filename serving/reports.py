"""How a child process tells its parent how far it is: JSON lines on a descriptor that it was given (`--reports`).

The host, the front door and an embedded Longtake write them; `local/parts.py` and `local/embedded.py` read them. A line
has one of three things: a `text` for people, what it is `ready` with, or the `error` that ends it and an exit code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """One line."""

    text: str = ""
    ready: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    code: int = 1
    """Of an error: 2 for what the user can set right."""


def read(line: bytes) -> Report:
    """A line as the child wrote it."""
    return Report(**json.loads(line))


class Reports:
    """The child's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, text: str) -> None:
        """What begins now."""
        self._tell(text=text)

    def ready(self, **where: str) -> None:
        """Everything is up, and this is where."""
        self._tell(ready=where)

    def failed(self, error: str, *, code: int) -> None:
        """It cannot go on."""
        self._tell(error=error, code=code)

    def close(self) -> None:
        """Nothing more is told."""
        os.close(self._descriptor)

    def _tell(self, **fields: Any) -> None:
        try:
            os.write(self._descriptor, json.dumps(fields).encode() + b"\n")
        except BrokenPipeError:  # the parent listens until we are ready, and no longer
            return
