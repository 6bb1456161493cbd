"""The runtimes that Longtake knows, one line each, found by name.

`building`, `session.py` and `store.py` ask here and know no runtime otherwise. A runtime's module is imported when it
is first asked for; what it imports in turn (ONNX Runtime, …) waits until it works.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Final

from engines.errors import EngineError
from engines.runtimes.base import Runner, Runtime
from engines.spec import ComponentSpec


class Runtimes:
    """Runtimes by name, the default first."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places` gives for each name the class that implements `Runtime`, as `module:class`."""
        self._places = dict(places)
        self._made: dict[str, Runtime] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All that are known, the default first."""
        return tuple(self._places)

    def find(self, name: str) -> Runtime:
        """The runtime of this name. Raises `EngineError`, naming those that are there."""
        if name not in self._places:
            raise EngineError(f"runtime: {name!r} is not known; there is {', '.join(self._places)}")
        if name not in self._made:
            self._made[name] = pkgutil.resolve_name(self._places[name])()
        return self._made[name]

    def default(self) -> Runtime:
        """The one that is built for where nothing else is said."""
        return self.find(self.names[0])


PLACES: Final = {
    "onnxruntime": "engines.runtimes.onnxruntime:OnnxRuntime",
    "aotinductor": "engines.runtimes.aotinductor.runtime:AotInductor",
    "tensorrt": "engines.runtimes.tensorrt.runtime:TensorRt",
    "tensorrt_rtx": "engines.runtimes.tensorrt.runtime:TensorRtRtx",
}
"""A new runtime is a line here."""
SHIPPED: Final = Runtimes(PLACES)
"""Those of this installation."""
REMOTE: Final = "engines.runtimes.triton.runner:TritonRunner"
"""What calls an engine that a server runs; the engine itself was compiled by one of the above."""


def remote(component: ComponentSpec, name: str, *, address: str, written_by: str) -> Runner:
    """A runner of the engine that the Triton Inference Server at `address` has under this name, not active yet.

    `written_by`: the command that writes it for a server, for who finds that it is not there.
    """
    made: Runner = pkgutil.resolve_name(REMOTE)(component, name, address=address, written_by=written_by)
    return made
