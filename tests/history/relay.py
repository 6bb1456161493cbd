"""Bad weather between a store and its server: answers are lost, requests are lost, and requests come late."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from random import Random

from tests.servers import CutAnswers


class BadWeather(CutAnswers):
    """A relay that does each of these to a share of all requests, at random. Quiet until `share` is set."""

    def __init__(self, port: int, seed: int, *, late_s: float) -> None:
        super().__init__(port)
        self._random = Random(seed)
        self._late_s = late_s
        self.share = 0.0
        self.done = {"answer lost": 0, "request lost": 0, "request late": 0}

    def _forward(self, client: socket.socket, server: socket.socket) -> None:  # type: ignore[override]
        with suppress(OSError):
            while data := client.recv(65536):
                if self._happens("request lost"):
                    break
                if self._happens("request late"):
                    # The client gives up and closes before; the server still gets the request.
                    time.sleep(self._late_s)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _loses_one(self) -> bool:
        return self._happens("answer lost")

    def _happens(self, what: str) -> bool:
        if self._random.random() >= self.share:
            return False
        self.done[what] += 1
        return True
