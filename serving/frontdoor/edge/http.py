"""What the front door serves over HTTP: media (routes of `content/routes.py`), `/healthz`, `/readyz`, `/metrics`.

`server.py` runs it with uvicorn, in the process and on the event loop of the gRPC server.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from serving.errors import SettingsError
from serving.frontdoor.edge.connections import Connection
from serving.frontdoor.edge.listen import listen
from serving.frontdoor.edge.metrics import PrometheusRecorder

Readiness = Callable[[], Awaitable[dict[str, str]]]
"""What stands in the way of serving, by part; empty when nothing does."""

STOP_S = 5


def build_app(metrics: PrometheusRecorder, readiness: Readiness, routes: Sequence[BaseRoute]) -> Starlette:
    """The HTTP application."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        problems = await readiness()
        body = {"ready": not problems, "problems": problems}
        return JSONResponse(body, status_code=503 if problems else 200)

    async def measured(_: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    own = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", measured)]
    return Starlette(routes=[*own, *routes])


class HttpServer:
    """A listening uvicorn. The port is taken in the constructor, so that a taken one is known at once."""

    def __init__(self, address: str) -> None:
        """Raises `SettingsError` when the address cannot be listened on."""
        self._socket = listen_as_set(address, "http.address")
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, app: Starlette) -> None:
        """Serve from now on."""
        config = uvicorn.Config(
            app,
            http=Connection,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=STOP_S,
            server_header=False,
        )
        self._server = _Uvicorn(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http")

    async def stop(self) -> None:
        """Let running responses end, at most `STOP_S`."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()


class _Uvicorn(uvicorn.Server):
    """Leaves signals to `__main__`, which stops both servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen_as_set(address: str, setting: str) -> socket.socket:
    """A listening socket. Raises `SettingsError`, naming the setting, when its address cannot be listened on."""
    try:
        return listen(address)
    except OSError as error:
        variable = f"LONGTAKE_{setting.upper().replace('.', '__')}"
        raise SettingsError(
            f"cannot listen on {address} (setting `{setting}`): {error.strerror}. Stop what listens there, "
            f"or choose another port with {variable}"
        ) from error
