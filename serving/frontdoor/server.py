"""One front-door process: has its rooms built, starts both servers, stops them in order.

`__main__.py` runs it; tests run it in their own process over a directory store. It holds no Ray and no state but
caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from serving.clock import now_ms
from serving.errors import LongtakeError, SettingsError
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.edge.auth import Keys
from serving.frontdoor.edge.descriptors import grpc_connections
from serving.frontdoor.edge.http import HttpServer, build_app, listen_as_set
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.edge.open_services import OpenServices
from serving.frontdoor.edge.options import server_options
from serving.frontdoor.edge.rpc import Edge
from serving.frontdoor.edge.tls import Certificate
from serving.frontdoor.rooms import Rooms, build
from serving.frontdoor.surfaces.longtake.register import register_longtake
from serving.frontdoor.surfaces.xai.register import register_xai
from serving.logs import logger
from serving.settings import Settings
from serving.store.base import Store
from serving.store.keys import URL_KEY
from serving.traces.spans import UNTRACED, Traces
from serving.traces.switch import open_traces

LAME_S = 0.3
"""Before that, the server answers for so long as one that shuts down: creates are UNAVAILABLE, the rest works."""
KEYS_LOOK_S = 2.0
"""How soon a removed API key stops working."""


class FrontDoor:
    """Both servers of one process. `start` once, `stop` once."""

    def __init__(self, settings: Settings, store: Store, catalog: Catalog) -> None:
        """The store is open already, and closed by whoever opened it."""
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._keys = Keys(settings.auth.keys_file)
        self._metrics = PrometheusRecorder()
        self._traces: Traces = UNTRACED
        self._health = health.aio.HealthServicer()
        self._log = logger("frontdoor")
        self._grpc: grpc.aio.Server | None = None
        self._http: HttpServer | None = None
        self._rooms: Rooms | None = None
        self._looking: asyncio.Task[None] | None = None
        self._stopping = False
        self.grpc_address = settings.grpc.address
        """host:port that is listened on: the real port when the setting says 0."""
        self.http_address = settings.http.address

    async def start(self) -> None:
        """Listen. Raises `SettingsError` for a taken port, bad TLS files or traces that cannot be sent; nothing is left
        behind then."""
        http = HttpServer(self._settings.http.address)
        self.http_address = http.address
        server = grpc.aio.server(options=server_options(grpc_connections(), self._settings.grpc.connection_s))
        try:
            self._traces = open_traces("longtake-frontdoor", self._metrics, os.environ)
            self.grpc_address = _bind(server, self._settings)
            rooms = self._rooms = await build(
                self._settings,
                self._store,
                self._catalog,
                http_address=self.http_address,
                metrics=self._metrics,
                now_ms=now_ms,
                traces=self._traces,
            )
        except BaseException:
            await http.stop()
            self._traces.close()
            raise
        self._grpc, self._http = server, http
        names = self._register(server, rooms)
        self._register_open(server, names)
        await rooms.link.start()
        await server.start()
        http.start(build_app(self._metrics, self._problems, rooms.content.routes()))
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._looking = asyncio.create_task(self._look_at_keys(), name="keys")
        self._log.info("listening", grpc=self.grpc_address, http=self.http_address, store=self._store.url)

    async def stop(self, grace_s: float | None = None) -> None:
        """Refuse new work, let running calls end for as long as the settings say, then close everything."""
        if self._rooms is None or self._grpc is None or self._http is None or self._stopping:
            return
        self._stopping = True
        grace_s = self._settings.grpc.grace_s if grace_s is None else grace_s
        self._rooms.creator.drain()
        await self._health.enter_graceful_shutdown()
        # Calls that are on their way now still get an answer that says what to do, not a cut connection.
        await asyncio.sleep(min(LAME_S, grace_s))
        await asyncio.gather(self._grpc.stop(grace_s), self._http.stop())
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await self._rooms.link.close()
        await asyncio.to_thread(self._traces.close)
        self._log.info("stopped")

    def _register(self, server: grpc.aio.Server, rooms: Rooms) -> tuple[str, ...]:
        """Register every service; their full names."""
        edge = Edge(self._keys, self._metrics, tls=self._settings.grpc.tls_cert is not None)
        own = register_longtake(
            edge,
            server,
            store=self._store,
            jobs=rooms.jobs,
            creator=rooms.creator,
            videos=rooms.videos,
            dead_jobs=rooms.dead_jobs,
            files=rooms.files,
            catalog=self._catalog,
            backlog=rooms.backlog,
            forecast=rooms.forecast,
            signer=rooms.signer,
            now_ms=now_ms,
        )
        public = register_xai(
            edge,
            server,
            store=self._store,
            creator=rooms.creator,
            videos=rooms.videos,
            files=rooms.files,
            catalog=self._catalog,
            signer=rooms.signer,
            now_ms=now_ms,
        )
        return (*own, *public)

    def _register_open(self, server: grpc.aio.Server, names: tuple[str, ...]) -> None:
        """Health and reflection, which ask nobody for a key."""
        to = OpenServices(server)
        to.describe(health_pb2.DESCRIPTOR.services_by_name["Health"])
        to.describe(reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, to)
        reflecting = reflection.aio.ReflectionServicer([*names, health.SERVICE_NAME, reflection.SERVICE_NAME])
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, to)

    async def _problems(self) -> dict[str, str]:
        """What stands in the way of serving. A missing Director does not: jobs wait for it."""
        problems = {"frontdoor": "shutting down"} if self._stopping else {}
        try:
            await self._store.get(URL_KEY)
        except LongtakeError as error:
            problems["store"] = error.message
        return problems

    async def _look_at_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_LOOK_S)
            try:
                self._keys.refresh()
            except Exception as error:  # noqa: BLE001  (who stops looking never removes a key again)
                self._log.error("the keys file could not be looked at", exc_info=error)


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    """Listen on the gRPC address; the address with its real port. Raises `SettingsError`."""
    address = settings.grpc.address
    # gRPC says only that it failed, so the port is tried by itself first.
    listen_as_set(address, "grpc.address").close()
    try:
        if settings.grpc.tls_cert is None or settings.grpc.tls_key is None:
            port = server.add_insecure_port(address)
        else:
            certificate = Certificate(settings.grpc.tls_cert, settings.grpc.tls_key)
            port = server.add_secure_port(address, certificate.credentials())
    except RuntimeError as error:
        raise SettingsError(
            f"cannot listen on {address}: can the files of `grpc.tls_cert` and `grpc.tls_key` be used by a server?"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"
