"""Calls an engine that a Triton Inference Server runs. `registry.remote` makes it, where a setting names a server.

It is no runtime of its own: engines are compiled, verified and named as ever, and a set of them has one digest,
wherever it runs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.runtimes.base import Arrays, Runner
from engines.runtimes.triton.connection import Connection
from engines.runtimes.triton.server import Server
from engines.spec import ComponentSpec

HERE: Final = ("127.0.0.1", "localhost", "[::1]")
"""Hosts of a server that may be on this machine; what is behind them may be a tunnel, and then it maps nothing."""


class TritonRunner(Runner):
    """One engine, of which nothing is loaded here. Calls from several threads run at the same time."""

    def __init__(self, component: ComponentSpec, name: str, *, address: str, written_by: str) -> None:
        """`name`: what the server calls the engine; `address`: of its gRPC, `host:port`; `written_by`: see `remote`."""
        super().__init__(component)
        self._name = name
        self._address = address
        self._written_by = written_by
        self._connection: Connection | None = None

    def _load(self) -> None:
        """Raises `EngineAway` for a server or an engine that is not there, `EngineError` for one of another face."""
        server = Server(self._address, self._name, self._written_by)
        try:
            here = self._address.rpartition(":")[0] in HERE
            self._connection = Connection(self.component, server, here=here)
        except BaseException:
            server.close()
            raise

    def _run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        """Raises as `Connection.infer`."""
        connection = self._connection
        if connection is None:
            raise RuntimeError(f"{self.component.name}: not loaded")
        return connection.infer(inputs)

    def _unload(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
