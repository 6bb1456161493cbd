"""Longtake's own wire (`longtake.v1`), as one thing: `server.py` calls `register_longtake` once."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from serving.files.repository import Files
from serving.frontdoor.admission.backlog import Backlog
from serving.frontdoor.admission.forecast import Forecast
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.create.create import Creator
from serving.frontdoor.edge.rpc import Edge
from serving.frontdoor.requeue import DeadJobs
from serving.frontdoor.surfaces.longtake.files import FilesService
from serving.frontdoor.surfaces.longtake.jobs import JobsService
from serving.frontdoor.surfaces.longtake.messages import VideoMessages
from serving.frontdoor.surfaces.longtake.models import ModelsService
from serving.frontdoor.surfaces.longtake.videos import VideosService
from serving.frontdoor.videos import Videos
from serving.gen.longtake.v1 import files_pb2, jobs_pb2, models_pb2, videos_pb2
from serving.jobs.repository import Jobs
from serving.store.base import Store

QUIET = ("GetVideo",)
"""Polls: not logged when they succeed."""
LARGE = ("CreateVideo", "UploadFile", "DownloadFile")
"""What carries media."""


def register_longtake(
    edge: Edge,
    server: grpc.aio.Server,
    *,
    store: Store,
    jobs: Jobs,
    creator: Creator,
    videos: Videos,
    dead_jobs: DeadJobs,
    files: Files,
    catalog: Catalog,
    backlog: Backlog,
    forecast: Forecast,
    signer: UrlSigner,
    now_ms: Callable[[], int],
) -> tuple[str, ...]:
    """Serve all services of `longtake.v1`; their full names, for health and reflection."""
    messages = VideoMessages(catalog, signer, store, now_ms)
    services = (
        (videos_pb2.DESCRIPTOR.services_by_name["Videos"], VideosService(creator, videos, messages)),
        (
            jobs_pb2.DESCRIPTOR.services_by_name["Jobs"],
            JobsService(jobs, videos, dead_jobs, backlog, forecast, messages, catalog),
        ),
        (files_pb2.DESCRIPTOR.services_by_name["Files"], FilesService(files)),
        (models_pb2.DESCRIPTOR.services_by_name["Models"], ModelsService(catalog)),
    )
    for service, implementation in services:
        edge.register(server, service, implementation, quiet=QUIET, large=LARGE)
    return tuple(service.full_name for service, _ in services)
