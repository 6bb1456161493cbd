"""For tests of `longtake.v1`: a real front door over a directory store, a fake Director behind it, and a client."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.server import FrontDoor
from serving.gen.longtake.v1 import files_pb2, files_pb2_grpc, models_pb2_grpc, videos_pb2, videos_pb2_grpc
from serving.settings import Grpc, Http, Settings
from serving.store.open import open_store
from tests.contract.fake_director import MODEL, FakeDirector
from tests.contract.sample_media import CAT

CAT_URL = f"data:image/png;base64,{base64.b64encode(CAT).decode()}"

Video = videos_pb2.Video


class Client:
    """Stubs of one front door, and what tests do with them again and again."""

    def __init__(self, door: FrontDoor, director: FakeDirector, channel: grpc.aio.Channel) -> None:
        self.door = door
        self.director = director
        self.channel = channel
        self.videos: videos_pb2_grpc.VideosAsyncStub = videos_pb2_grpc.VideosStub(channel)
        self.files: files_pb2_grpc.FilesAsyncStub = files_pb2_grpc.FilesStub(channel)
        self.models: models_pb2_grpc.ModelsAsyncStub = models_pb2_grpc.ModelsStub(channel)

    async def create(self, prompt: str = "x", **fields: Any) -> Video:
        asked = {"seconds": 1, **fields}
        return await self.videos.CreateVideo(videos_pb2.CreateVideoRequest(prompt=prompt, **asked))

    async def extend(self, parent: str, **fields: Any) -> Video:
        return await self.create(extends=videos_pb2.Extension(video_id=parent), **fields)

    async def events(self, video: str, cursor: str = "", previews: bool = False) -> list[videos_pb2.WatchVideoResponse]:
        request = videos_pb2.WatchVideoRequest(id=video, cursor=cursor, previews=previews)
        return [event async for event in self.videos.WatchVideo(request, timeout=60)]

    async def made(self, prompt: str = "x", **fields: Any) -> Video:
        return await self.ended(await self.create(prompt, **fields))

    async def ended(self, video: Video) -> Video:
        return (await self.events(video.id))[-1].video

    async def get(self, video: str) -> Video:
        return await self.videos.GetVideo(videos_pb2.GetVideoRequest(id=video))

    async def until(self, video: str, state: Video.State.ValueType) -> Video:
        async with asyncio.timeout(30):
            while (found := await self.get(video)).state != state:  # noqa: ASYNC110  (a client polls)
                await asyncio.sleep(0.02)
        return found

    async def upload(self, data: bytes, filename: str = "cat.png") -> files_pb2.File:
        metadata = files_pb2.UploadFileRequest.Metadata(filename=filename)
        first = files_pb2.UploadFileRequest(metadata=metadata)
        return await self.files.UploadFile(iter([first, files_pb2.UploadFileRequest(data=data)]))


def settings_for(folder: Path, **groups: Any) -> Settings:
    fixed: dict[str, Any] = {"grpc": Grpc(address="127.0.0.1:0"), "http": Http(address="127.0.0.1:0", url_ttl_s=3600)}
    return Settings(store=str(folder / "store"), model=MODEL.model, **{**fixed, **groups})


@asynccontextmanager
async def opened(settings: Settings, catalog: Catalog | None = None) -> AsyncIterator[Client]:
    store = await open_store(settings.store)
    door = FrontDoor(settings, store, catalog or Catalog([ServedModel(MODEL, "5" * 64)], default=MODEL.model))
    await door.start()
    director = FakeDirector(store)
    async with director.at_work(), grpc.aio.insecure_channel(door.grpc_address) as channel:
        yield Client(door, director, channel)
    await door.stop(grace_s=0.2)
    await store.close()


@asynccontextmanager
async def refused(code: grpc.StatusCode, says: str, field: str = "") -> AsyncIterator[None]:
    """The call inside is refused with this status, and with `google.rpc` details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    error = caught.value
    assert (error.code(), says in str(error.details())) == (code, True), f"{error.code()}: {error.details()}"
    status = rpc_status.from_call(error)
    assert status is not None
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "longtake.dev"
    if field:
        assert any(detail.Unpack(violations) for detail in status.details)
        assert violations.field_violations[0].field == field
