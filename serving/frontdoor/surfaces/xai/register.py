"""The public video wire (`xai_api`), as one thing: `server.py` calls `register_xai` once."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from serving.files.repository import Files
from serving.frontdoor.content.urls import UrlSigner
from serving.frontdoor.create.catalog import Catalog
from serving.frontdoor.create.create import Creator
from serving.frontdoor.edge.rpc import Edge
from serving.frontdoor.surfaces.xai.account import XaiAuth, XaiBatches, XaiModels
from serving.frontdoor.surfaces.xai.files import XaiFiles
from serving.frontdoor.surfaces.xai.image import XaiImage
from serving.frontdoor.surfaces.xai.keep import Keeper
from serving.frontdoor.surfaces.xai.video import XaiVideo
from serving.frontdoor.videos import Videos
from serving.gen.xai.api.v1 import auth_pb2, batch_pb2, files_pb2, image_pb2, models_pb2, video_pb2
from serving.store.base import Store

QUIET = ("GetDeferredVideo",)
"""Polls: not logged when they succeed."""
LARGE = ("GenerateVideo", "ExtendVideo", "GenerateImage", "UploadFile", "RetrieveFileContent", "AddBatchRequests")
"""What carries media."""


def register_xai(
    edge: Edge,
    server: grpc.aio.Server,
    *,
    store: Store,
    creator: Creator,
    videos: Videos,
    files: Files,
    catalog: Catalog,
    signer: UrlSigner,
    now_ms: Callable[[], int],
) -> tuple[str, ...]:
    """Serve all services of the public wire; their full names, for health and reflection."""
    keeper = Keeper(store, files, signer)
    services = (
        (video_pb2.DESCRIPTOR.services_by_name["Video"], XaiVideo(creator, videos, keeper, signer, now_ms)),
        (image_pb2.DESCRIPTOR.services_by_name["Image"], XaiImage(creator, videos, store, keeper, signer, now_ms)),
        (files_pb2.DESCRIPTOR.services_by_name["Files"], XaiFiles(files, signer, now_ms)),
        (models_pb2.DESCRIPTOR.services_by_name["Models"], XaiModels(catalog)),
        (auth_pb2.DESCRIPTOR.services_by_name["Auth"], XaiAuth()),
        (batch_pb2.DESCRIPTOR.services_by_name["BatchMgmt"], XaiBatches()),
    )
    for service, implementation in services:
        edge.register(server, service, implementation, quiet=QUIET, large=LARGE)
    return tuple(service.full_name for service, _ in services)
