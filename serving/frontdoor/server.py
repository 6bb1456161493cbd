"""One front-door process: builds every room once, starts both servers, stops them in order.

`__main__.py` runs it; tests run it in their own process over a directory store. It holds no Ray and no state
but caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from serving.clock import now_ms
from serving.errors import LongtakeError, SettingsError
from serving.files.repository import Files
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.forecast import Forecast
from serving.frontdoor.content.films import Films
from serving.frontdoor.content.routes import Content
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.create.intake import Intake
from serving.frontdoor.edge.auth import Keys
from serving.frontdoor.edge.http import HttpServer, build_app, listen
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.edge.rpc import SERVER_OPTIONS, Edge
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.requeue import Graveyard
from serving.frontdoor.surfaces.longtake.jobs import JobsService
from serving.frontdoor.surfaces.longtake.messages import VideoMessages
from serving.frontdoor.surfaces.longtake.videos import FilesService, ModelsService, VideosService
from serving.frontdoor.surfaces.xai.register import register_xai
from serving.frontdoor.videos import Defaults, Videos
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2
from serving.jobs.dead import DeadLetters
from serving.jobs.repository import Jobs
from serving.logs import logger
from serving.media.fetch import Fetcher, FetchPolicy
from serving.media.sandbox import Decoder
from serving.settings import Settings, split_address
from serving.store.base import Store
from serving.store.keys import URL_KEY

GRACE_S = 5.0
"""Running calls may end for so long when the server stops; what still streams then is cut."""
LAME_S = 0.3
"""Before that, the server answers for so long as one that shuts down: creates are UNAVAILABLE, the rest works."""
KEYS_LOOK_S = 2.0
"""How soon a removed API key stops working."""


@dataclass(frozen=True)
class _Rooms:
    """What the two servers offer."""

    videos: Videos
    files: Files
    content: Content
    link: DirectorLink
    signer: UrlSigner
    cache: RecordCache
    forecast: Forecast


class FrontDoor:
    """Both servers of one process. `start` once, `stop` once."""

    def __init__(self, settings: Settings, store: Store, catalog: Catalog) -> None:
        """The store is open already, and closed by whoever opened it."""
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._keys = Keys(settings.auth.keys_file)
        self._recorder = PrometheusRecorder()
        self._health = health.aio.HealthServicer()
        self._log = logger("frontdoor")
        self._grpc: grpc.aio.Server | None = None
        self._http: HttpServer | None = None
        self._rooms: _Rooms | None = None
        self._looking: asyncio.Task[None] | None = None
        self._stopping = False
        self.grpc_address = settings.grpc.address
        """host:port that is listened on: the real port when the setting says 0."""
        self.http_address = settings.http.address

    async def start(self) -> None:
        """Listen. Raises `SettingsError` for a taken port or bad TLS files; nothing is left behind then."""
        http = HttpServer(self._settings.http.address)
        self.http_address = http.address
        server = grpc.aio.server(options=SERVER_OPTIONS)
        try:
            self.grpc_address = _bind(server, self._settings)
            rooms = self._rooms = await self._build()
        except BaseException:
            await http.stop()
            raise
        self._grpc, self._http = server, http
        names = self._register(server, rooms)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        await rooms.link.start()
        await server.start()
        http.start(build_app(self._recorder, self._problems, rooms.content.routes()))
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._looking = asyncio.create_task(self._look_at_keys(), name="keys")
        self._log.info("listening", grpc=self.grpc_address, http=self.http_address, store=self._store.url)

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Refuse new work, let running calls end, then close everything."""
        if self._rooms is None or self._grpc is None or self._http is None or self._stopping:
            return
        self._stopping = True
        self._rooms.videos.drain()
        await self._health.enter_graceful_shutdown()
        # Calls that are on their way now still get an answer that says what to do, not a cut connection.
        await asyncio.sleep(min(LAME_S, grace_s))
        await asyncio.gather(self._grpc.stop(grace_s), self._http.stop())
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await self._rooms.link.close()
        self._log.info("stopped")

    async def _build(self) -> _Rooms:
        """Every room, each with what it needs."""
        settings, store = self._settings, self._store
        public_url = settings.http.public_url or _reachable(self.http_address)
        signer = await UrlSigner.open(store, public_url=public_url, ttl_s=settings.http.url_ttl_s)
        jobs = Jobs(store)
        cache = RecordCache(clock=time.monotonic)
        records = Records(jobs, cache, self._recorder)
        films = Films(store, records, signer)
        files = Files(store, films, now_ms=now_ms, max_bytes=settings.uploads.max_file_bytes)
        link = DirectorLink(store, cache, self._recorder, address=settings.director.address)
        intake = Intake(
            store=store,
            files=files,
            films=films,
            records=records,
            signer=signer,
            fetcher=Fetcher(FetchPolicy(allow_loopback=settings.uploads.allow_loopback_urls)),
            decoder=Decoder(),
        )
        backlog = Backlog(jobs, clock=time.monotonic)
        servers = settings.stages.scale_of("denoiser").max
        weights = settings.admission.weights
        forecast = Forecast(store, backlog, servers=servers, now_ms=now_ms, weights=weights)
        videos = Videos(
            store=store,
            jobs=jobs,
            cache=cache,
            records=records,
            link=link,
            intake=intake,
            catalog=self._catalog,
            backlog=backlog,
            forecast=forecast,
            recorder=self._recorder,
            defaults=Defaults.of(settings),
            now_ms=now_ms,
        )
        content = Content(
            store,
            signer=signer,
            records=records,
            films=films,
            files=files,
            recorder=self._recorder,
            now_ms=now_ms,
        )
        return _Rooms(videos, files, content, link, signer, cache, forecast)

    def _register(self, server: grpc.aio.Server, rooms: _Rooms) -> tuple[str, ...]:
        """Register every service; their full names."""
        edge = Edge(self._keys, self._recorder, tls=self._settings.grpc.tls_cert is not None)
        messages = VideoMessages(self._catalog, rooms.signer)
        videos = videos_pb2.DESCRIPTOR.services_by_name["Videos"]
        files = files_pb2.DESCRIPTOR.services_by_name["Files"]
        models = models_pb2.DESCRIPTOR.services_by_name["Models"]
        service = VideosService(rooms.videos, messages, now_ms)
        edge.register(server, videos, service, quiet=("GetVideo",))
        jobs = jobs_pb2.DESCRIPTOR.services_by_name["Jobs"]
        edge.register(server, jobs, self._jobs_service(rooms, service))
        edge.register(server, files, FilesService(rooms.files))
        edge.register(server, models, ModelsService(self._catalog))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        public = register_xai(
            edge,
            server,
            store=self._store,
            videos=rooms.videos,
            files=rooms.files,
            catalog=self._catalog,
            signer=rooms.signer,
            now_ms=now_ms,
        )
        return (videos.full_name, jobs.full_name, files.full_name, models.full_name, *public)

    def _jobs_service(self, rooms: _Rooms, videos: VideosService) -> JobsService:
        jobs = Jobs(self._store)
        graveyard = Graveyard(jobs, DeadLetters(self._store), rooms.link, now_ms)
        return JobsService(jobs, rooms.videos, graveyard, rooms.forecast, videos.message)

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
            except (SettingsError, OSError) as error:
                # The keys that are known stay: a typing mistake in the file must not lock everybody out.
                self._log.error("the keys file cannot be read", details=str(error))


def _reachable(http_address: str) -> str:
    """The base of media URLs when the settings name none. Raises `SettingsError` where nobody could tell."""
    host, _ = split_address(http_address)
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared, not listened on)
        raise SettingsError(
            f"setting `http.address` is {http_address}, every address of this machine: set `http.public_url` to the "
            "one that clients reach, for example https://video.example"
        )
    return f"http://{http_address}"


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    """Listen on the gRPC address; the address with its real port. Raises `SettingsError`."""
    address = settings.grpc.address
    # gRPC says only that it failed, so the port is tried by itself first.
    listen(address, "grpc.address").close()
    try:
        if settings.grpc.tls_cert is None or settings.grpc.tls_key is None:
            port = server.add_insecure_port(address)
        else:
            pair = (settings.grpc.tls_key.read_bytes(), settings.grpc.tls_cert.read_bytes())
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except OSError as error:
        raise SettingsError(f"settings `grpc.tls_cert` and `grpc.tls_key`: {error}") from error
    except RuntimeError as error:
        raise SettingsError(
            f"cannot listen on {address}: do the files of `grpc.tls_cert` and `grpc.tls_key` fit together?"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"
