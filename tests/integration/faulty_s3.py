"""A relay in front of a real S3 server that misbehaves as stores do, request by request, by a seeded die."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Self

_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
FAULTS = {
    "busy": 0.04,
    "dropped": 0.03,
    "acknowledgement lost": 0.04,
    "failed after it was done": 0.03,
    "slow": 0.04,
}
"""Fault → share of requests: 503 before, the connection closed before and after, 500 after, half a second late."""


class FaultyS3:
    """Listens on `port` and passes requests on to `upstream`; `faults` counts what it did to them."""

    def __init__(self, upstream: int, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self.answers: deque[tuple[int, bytes] | tuple[int, bytes, dict[str, str]]] = deque()
        """Status, body and headers of the next answers, whose requests never reach the server behind."""
        self.calm = False
        self.upstream = upstream
        self._random = Random(seed)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"faulty": self}))
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self) -> str:
        """What happens to the next request; usually nothing."""
        if self.calm:
            return ""
        kind = self._random.choices([*FAULTS, ""], [*FAULTS.values(), 1 - sum(FAULTS.values())])[0]
        if kind:
            self.faults[kind] += 1
        return kind

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        connection.request(method, path, body, headers)
        return connection.getresponse()


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyS3
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.faulty.answers:
            status, data, *headers = self.faulty.answers.popleft()
            self._answer(status, {"Content-Type": "application/xml", **(headers[0] if headers else {})}, data)
            return
        kind = self.faulty.fault()
        if kind == "dropped":
            self.close_connection = True
            return
        if kind == "busy":
            self._answer(503, {}, _BUSY)
            return
        if kind == "slow":
            time.sleep(0.5)
        answer = self.faulty.forward(self.command, self.path, dict(self.headers), body)
        data = answer.read()
        if kind == "acknowledgement lost":
            self.close_connection = True
        elif kind == "failed after it was done":
            self._answer(500, {}, _BUSY.replace(b"SlowDown", b"InternalError"))
        else:
            self._answer(answer.status, dict(answer.getheaders()), data)

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
