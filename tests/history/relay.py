"""Bad weather between a store and its server: answers and requests are lost, come late, or are torn in two."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from threading import Event
from typing import Literal

from tests.servers import CutAnswers

Fault = Literal["answer lost", "request lost", "request late", "request torn"]


class BadWeather(CutAnswers):
    """A relay in which each fault befalls a share of all requests. Fair until `share` is set."""

    def __init__(self, port: int, faults: Sequence[Fault], *, seed: int = 0, late_s: float = 0.0) -> None:
        super().__init__(port)
        self._faults = frozenset(faults)
        self._random = Random(seed)
        self._late_s = late_s
        self.share = 0.0
        self.done: Counter[Fault] = Counter()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:  # type: ignore[override]
        with suppress(OSError):
            while data := client.recv(65536):
                if data.startswith((b"GET ", b"PUT ")):
                    if self._happens("request lost"):
                        client.shutdown(socket.SHUT_RDWR)
                        break
                    if self._happens("request late"):
                        # The client has long given up when the server hears of it, and does it all the same.
                        self._send_late(data, client, server)
                        break
                    if data.startswith(b"PUT ") and self._happens("request torn"):
                        server.sendall(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                        client.shutdown(socket.SHUT_RDWR)
                        break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _send_late(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        time.sleep(self._late_s)
        server.sendall(data)
        while data := client.recv(65536):
            server.sendall(data)
        time.sleep(self._late_s)  # a server drops the work of a connection that is closed

    def _loses_one(self) -> bool:
        return self._happens("answer lost")

    def _happens(self, fault: Fault) -> bool:
        if fault not in self._faults or self._random.random() >= self.share:
            return False
        self.done[fault] += 1
        return True


class HeldAnswer(CutAnswers):
    """A relay that holds the next answer once it is armed, and loses it when it is told to go on."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.armed = False
        self.holds = Event()
        self.goes_on = Event()

    def _loses_one(self) -> bool:
        if not self.armed:
            return False
        self.armed = False
        self.holds.set()
        return self.goes_on.wait(30)
