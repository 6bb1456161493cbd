"""What one front-door process is made of: every room once, each with what it needs. `server.py` builds it at start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import SettingsError
from serving.files.quota import Quota
from serving.files.repository import Files
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.forecast import Forecast
from serving.frontdoor.admission.gate import Gate, limits_of
from serving.frontdoor.content.films import Films
from serving.frontdoor.content.routes import Content
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.create.create import Creator
from serving.frontdoor.create.intake import Intake
from serving.frontdoor.create.settle import Settler
from serving.frontdoor.create.turns import CHILDREN
from serving.frontdoor.follow.director_link import DirectorLink
from serving.frontdoor.follow.records import RecordCache, Records
from serving.frontdoor.requeue import DeadJobs
from serving.frontdoor.videos import Videos
from serving.jobs.repository import Jobs
from serving.media.fetch import Fetcher, FetchPolicy
from serving.media.sandbox import Decoder
from serving.metrics import Recorder
from serving.settings import Settings, split_address
from serving.stage_names import DENOISER
from serving.store.base import Store
from serving.traces.spans import UNTRACED, Traces


@dataclass(frozen=True)
class Rooms:
    """What the two servers offer."""

    jobs: Jobs
    link: DirectorLink
    signer: UrlSigner
    files: Files
    content: Content
    backlog: Backlog
    forecast: Forecast
    creator: Creator
    videos: Videos
    dead_jobs: DeadJobs


async def build(
    settings: Settings,
    store: Store,
    catalog: Catalog,
    *,
    http_address: str,
    metrics: Recorder,
    now_ms: Callable[[], int],
    traces: Traces = UNTRACED,
) -> Rooms:
    """All of them. `http_address` is the one that is listened on. Raises `SettingsError` where no URL can be told."""
    # How jobs stand
    jobs = Jobs(store)
    cache = RecordCache(clock=time.monotonic)
    records = Records(jobs, cache, metrics)
    link = DirectorLink(store, cache, metrics, address=settings.director.address)
    videos = Videos(store=store, jobs=jobs, cache=cache, records=records, link=link, traces=traces, now_ms=now_ms)
    dead_jobs = DeadJobs(store, jobs, link, now_ms)

    # Media
    public_url = settings.http.public_url or _reachable(http_address)
    signer = await UrlSigner.open(store, public_url=public_url, ttl_s=settings.http.url_ttl_s)
    films = Films(store, records, signer)
    quota = Quota(store, lambda tenant: limits_of(settings.admission, tenant).max_stored_bytes)
    files = Files(store, films, now_ms=now_ms, max_bytes=settings.uploads.max_file_bytes, quota=quota)
    content = Content(store, signer=signer, records=records, films=films, files=files, metrics=metrics, now_ms=now_ms)

    # A create
    fetcher = Fetcher(FetchPolicy(allow_loopback=settings.uploads.allow_loopback_urls))
    intake = Intake(
        store=store,
        files=files,
        quota=quota,
        films=films,
        records=records,
        signer=signer,
        fetcher=fetcher,
        decoder=Decoder(CHILDREN),
    )
    settler = Settler(store=store, intake=intake, catalog=catalog, codec=settings.video.codec, now_ms=now_ms)
    backlog = Backlog(jobs, clock=time.monotonic, model_of=cache.model_of)
    forecast = _forecast(settings, catalog, store, backlog, now_ms)
    gate = Gate(settings.admission, backlog=backlog, forecast=forecast, quota=quota)
    creator = Creator(
        settler=settler,
        gate=gate,
        jobs=jobs,
        records=records,
        link=link,
        metrics=metrics,
        traces=traces,
        now_ms=now_ms,
    )
    return Rooms(jobs, link, signer, files, content, backlog, forecast, creator, videos, dead_jobs)


def _forecast(
    settings: Settings, catalog: Catalog, store: Store, backlog: Backlog, now_ms: Callable[[], int]
) -> Forecast:
    others = settings.stages.scale_of(DENOISER).max
    known = {  # by their own names, which plans have; the settings may say an alias
        catalog.resolve(said).capabilities.model: settings.of(said).stages.scale_of(DENOISER).max
        for said in settings.served
    }
    return Forecast(
        store,
        backlog,
        servers=lambda model: known.get(model, others),
        now_ms=now_ms,
        weights=settings.admission.weights,
    )


def _reachable(http_address: str) -> str:
    """The base of media URLs when the settings name none. Raises `SettingsError` where nobody could tell."""
    host, _ = split_address(http_address)
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared, not listened on)
        raise SettingsError(
            f"setting `http.address` is {http_address}, every address of this machine: set `http.public_url` to the "
            "one that clients reach, for example https://video.example"
        )
    return f"http://{http_address}"
