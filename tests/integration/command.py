"""`longtake up` with a file of settings, as an operator runs it: what changes in the file is served after SIGUSR1."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.house import House

START_S = 400.0


class Command:
    """It runs for as long as a `with` block lasts."""

    def __init__(self, settings: str, *, store: str, folder: Path) -> None:
        """`settings`: TOML. `folder`: for its file, its words and the logs."""
        self._config, self._said = folder / "longtake.toml", folder / "said"
        self._config.write_text(settings)
        self._store = store
        place = ["--store", store, "--logs", str(folder / "logs")]
        addresses = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        self._arguments = ["-m", "serving.cli.main", "up", "--config", str(self._config), *place, *addresses]
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._said.open("wb") as said:
            self._child = subprocess.Popen([sys.executable, *self._arguments], stderr=said, env=os.environ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGINT)
        self._child.wait(60)

    def house(self) -> House:
        """A client of it, once it is ready."""
        assert self._child is not None
        ends = time.monotonic() + START_S
        while not (found := re.search(r"ready .*gRPC (\S+).*\n.* (\S+)/metrics\n", self.said)):
            assert self._child.poll() is None, self.said
            assert time.monotonic() < ends, self.said
            time.sleep(0.1)
        return House(found[1], store=self._store, metrics=found[2].removeprefix("http://"), pid=self._child.pid)

    @property
    def said(self) -> str:
        """Its words so far."""
        return self._said.read_text()

    def change(self, settings: str) -> None:
        """Other settings from now on."""
        assert self._child is not None
        self._config.write_text(settings)
        self._child.send_signal(signal.SIGUSR1)
