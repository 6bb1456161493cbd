"""For tests of the edge: a service that does what the test says, on a real server, and a channel to it."""

# ruff: noqa: N802  (the wire decides the names)

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_status import rpc_status
from typer.testing import CliRunner

from serving.cli.keys import app as keys_app
from serving.frontdoor.edge.auth import Keys
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.frontdoor.edge.options import Places, server_options
from serving.frontdoor.edge.rpc import Call, Edge
from serving.gen.longtake.v1 import files_pb2, files_pb2_grpc


class Answering:
    """`longtake.v1.Files` that does what the test says."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[Call] = []

    async def GetFile(self, request: files_pb2.GetFileRequest, call: Call) -> Message | bytes:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return files_pb2.File(id=request.id, filename=call.caller.tenant).SerializeToString()

    async def DownloadFile(
        self, request: files_pb2.DownloadFileRequest, call: Call
    ) -> AsyncGenerator[files_pb2.DownloadFileResponse]:
        yield files_pb2.DownloadFileResponse(data=b"first")
        if self.error is not None:
            raise self.error

    async def UploadFile(self, request: AsyncIterator[files_pb2.UploadFileRequest], call: Call) -> files_pb2.File:
        return files_pb2.File(size_bytes=sum([len(one.data) async for one in request]))

    async def ListFiles(self, request: files_pb2.ListFilesRequest, call: Call) -> files_pb2.ListFilesResponse:
        return files_pb2.ListFilesResponse()

    DeleteFile = ListFiles


@asynccontextmanager
async def connected(
    implementation: Answering,
    *,
    keys: Path | None = None,
    metrics: PrometheusRecorder | None = None,
    places: Places | None = None,
    known: Keys | None = None,
    channel_options: tuple[tuple[str, str], ...] = (),
    large: tuple[str, ...] = ("UploadFile", "DownloadFile"),
) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(options=server_options(100))
    edge = Edge(known or Keys(keys), metrics or PrometheusRecorder(), tls=False, places=places or Places())
    service = files_pb2.DESCRIPTOR.services_by_name["Files"]
    edge.register(server, service, implementation, large=large)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=channel_options) as channel:
            yield channel
    finally:
        await server.stop(0)


@asynccontextmanager
async def serving(implementation: Answering, **how: Any) -> AsyncIterator[files_pb2_grpc.FilesAsyncStub]:
    async with connected(implementation, **how) as channel:
        yield stub_of(channel)


def stub_of(channel: grpc.aio.Channel) -> files_pb2_grpc.FilesAsyncStub:
    stub: files_pb2_grpc.FilesAsyncStub = files_pb2_grpc.FilesStub(channel)
    return stub


async def refusal(stub: files_pb2_grpc.FilesAsyncStub, **metadata: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetFile(files_pb2.GetFileRequest(id="x"), metadata=tuple(metadata.items()))
    return caught.value


def detail(error: grpc.aio.AioRpcError, kind: type[Message]) -> Message:
    status = rpc_status.from_call(error)
    assert status is not None
    assert status.message == error.details()
    found = kind()
    assert any(one.Unpack(found) for one in status.details), f"no {kind.__name__} in {status}"
    return found


def new_key(path: Path, name: str = "laptop", tenant: str = "studio") -> str:
    """A key that is added to this file."""
    made = CliRunner().invoke(keys_app, ["add", name, "--tenant", tenant, "--file", str(path)])
    assert made.exit_code == 0, made.stderr
    return made.stdout.splitlines()[0]
