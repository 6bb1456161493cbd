"""An upload whose file cannot be read, or that no message can carry, says so in both forms of the client."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest

from serving.client import AsyncClient, Client, Unsendable
from serving.client.requests import PIECE
from serving.gen.longtake.v1.files_pb2 import File, UploadFileRequest
from serving.gen.longtake.v1.files_pb2_grpc import FilesServicer, add_FilesServicer_to_server


class Upload(Protocol):
    """Of either form."""

    def __call__(self, server: str, path: Path, *, expire_after_s: int | None = None) -> File: ...


class _Files(FilesServicer):
    def UploadFile(self, request_iterator: Iterator[UploadFileRequest], context: object) -> File:  # noqa: N802
        return File(size_bytes=sum(len(part.data) for part in request_iterator))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    add_FilesServicer_to_server(_Files(), server)  # type: ignore[abstract]  # nobody asks for the rest
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


class _Rotten(io.BytesIO):
    """Its first piece can be read."""

    def __init__(self, before: Callable[[], object]) -> None:
        super().__init__(bytes(2 * PIECE))
        self._before = before

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            self._before()
            raise OSError(5, "Input/output error")
        return super().read(size)


class _RottenPath(type(Path())):  # type: ignore[misc]  # the kind of this system
    before: Callable[[], object] = staticmethod(lambda: None)
    """Called as the read fails."""

    def open(self, *_: Any, **__: Any) -> _Rotten:
        return _Rotten(self.before)


def _sync(server: str, path: Path, *, expire_after_s: int | None = None) -> File:
    with Client(server) as client:
        return client.upload(path, expire_after_s=expire_after_s)


def _aio(server: str, path: Path, *, expire_after_s: int | None = None) -> File:
    async def upload() -> File:
        async with AsyncClient(server) as client:
            return await client.upload(path, expire_after_s=expire_after_s)

    return asyncio.run(upload())


@pytest.fixture(params=[_sync, _aio], ids=["sync", "aio"])
def upload(request: pytest.FixtureRequest) -> Upload:
    chosen: Upload = request.param
    return chosen


def test_a_file_is_uploaded_piece_by_piece(server: str, upload: Upload, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(2 * PIECE + 1))
    assert upload(server, path).size_bytes == 2 * PIECE + 1


def test_a_file_that_cannot_be_read_to_its_end_is_an_os_error(server: str, upload: Upload) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        upload(server, _RottenPath("film.mp4"))


def test_a_time_that_no_message_has_room_for_is_named(server: str, upload: Upload, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"x")
    with pytest.raises(Unsendable, match=r"^expire_after_s: "):
        upload(server, path, expire_after_s=2**70)


def test_an_upload_that_is_cancelled_as_its_read_fails_is_cancelled(server: str) -> None:
    async def upload() -> bool:
        async with AsyncClient(server) as client:
            path = _RottenPath("film.mp4")
            task = asyncio.ensure_future(client.upload(path))
            path.before = task.cancel
            await asyncio.wait([task])
            return task.cancelled()

    assert asyncio.run(upload())
