"""What is not read, and what is too much: keys before messages, bounds of messages, places, on a real server."""

# ruff: noqa: N802  (the wire decides the names)

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from serving.errors import InvalidArgument, Unauthenticated, shown
from serving.fair_places import FairPlaces
from serving.frontdoor.edge.auth import Keys
from serving.frontdoor.edge.options import LARGE_BYTES, MAX_PIECE_BYTES, SMALL_BYTES, Places
from serving.frontdoor.edge.rpc import Call
from serving.frontdoor.edge.wire import has_more_fields
from serving.gen.longtake.v1 import files_pb2, files_pb2_grpc, videos_pb2
from tests.unit.serving.frontdoor.edge.answering import Answering, connected, detail, new_key, serving, stub_of

pytestmark = pytest.mark.anyio

FILES = "/longtake.v1.Files"

GET = files_pb2.GetFileRequest(id="x")


class Waiting(Answering):
    """Says that it is there, and answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()
        self.go = asyncio.Event()

    async def _wait(self) -> None:
        self.came.set()
        await self.go.wait()

    async def GetFile(self, request: files_pb2.GetFileRequest, call: object) -> files_pb2.File:
        await self._wait()
        return files_pb2.File(id=request.id)

    async def DownloadFile(
        self, request: files_pb2.DownloadFileRequest, call: object
    ) -> AsyncGenerator[files_pb2.DownloadFileResponse]:
        yield files_pb2.DownloadFileResponse(data=b"first")
        await self._wait()


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def _answer(stub: files_pb2_grpc.FilesAsyncStub) -> files_pb2.File:
    return await stub.GetFile(GET)


def raw(channel: grpc.aio.Channel, method: str) -> grpc.aio.StreamUnaryMultiCallable[bytes, bytes]:
    """A method, to be sent bytes when somebody writes them."""
    return channel.stream_unary(f"{FILES}/{method}")


def watched(stub: files_pb2_grpc.FilesAsyncStub, **how: Any) -> Any:
    return stub.DownloadFile(files_pb2.DownloadFileRequest(id="x"), **how)


async def test_who_may_not_call_is_told_before_the_message_comes(tmp_path: Path) -> None:
    new_key(tmp_path / "keys")
    async with connected(Answering(), keys=tmp_path / "keys") as channel:
        for method in ("GetFile", "DownloadFile", "UploadFile"):
            error = await refused(raw(channel, method)(timeout=10))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED, method


async def test_a_message_that_does_not_come_ends_its_call(tmp_path: Path) -> None:
    async with connected(Answering(), places=Places(read_s=0.05)) as channel:
        for method in ("GetFile", "UploadFile"):
            error = await refused(raw(channel, method)(timeout=10))
            assert (error.code(), "nothing came for" in str(error.details())) == (grpc.StatusCode.UNAVAILABLE, True)


async def test_a_method_takes_what_it_needs_and_no_more() -> None:
    async with serving(Answering()) as stub:
        assert (await stub.GetFile(files_pb2.GetFileRequest(id="x" * (SMALL_BYTES - 100)))).id
        error = await refused(stub.GetFile(files_pb2.GetFileRequest(id="x" * SMALL_BYTES)))
        assert (error.code(), "takes 65536 at most" in str(error.details())) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            True,
        )
        piece = files_pb2.UploadFileRequest(data=b"x" * MAX_PIECE_BYTES)
        error = await refused(stub.UploadFile(iter([piece])))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"\x0a\x02\xff\xff", "its bytes are no GetFileRequest"),
        (b"\x12\x00" * 5000, "more than 1000 fields"),
    ],
)
async def test_bytes_that_are_no_message_are_refused_by_name(message: bytes, says: str) -> None:
    async with connected(Answering()) as channel:
        error = await refused(raw(channel, "GetFile")(iter([message])))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        violation = detail(error, error_details_pb2.BadRequest)
        assert isinstance(violation, error_details_pb2.BadRequest)
        assert says in violation.field_violations[0].description


def test_fields_are_counted_where_they_lie() -> None:
    create = videos_pb2.CreateVideoRequest.DESCRIPTOR
    two = videos_pb2.CreateVideoRequest(references=[videos_pb2.Media(url="a"), videos_pb2.Media(url="b")], prompt="p")
    data = two.SerializeToString()
    assert has_more_fields(data, create, 4)  # the prompt, two references, the URL in each
    assert not has_more_fields(data, create, 5)
    assert not has_more_fields(b"\x62\x00" * 3 + b"\xff", create, 4), "what is broken off is left to the parser"
    assert not has_more_fields(b"\x62\x00" * 3, create, 3)


async def test_a_call_too_many_is_told_when_to_come_back() -> None:
    implementation = Waiting()
    one = Places(
        calls=FairPlaces("calls", places=9, each=1, waiting=0),
        streams=FairPlaces("streams", places=9, each=1, waiting=0),
    )
    async with serving(implementation, places=one) as stub:
        first = asyncio.ensure_future(_answer(stub))
        await implementation.came.wait()
        stream = watched(stub)
        await stream.read()
        for call in (_answer(stub), watched(stub).read()):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            retry = detail(error, error_details_pb2.RetryInfo)
            assert isinstance(retry, error_details_pb2.RetryInfo)
            assert retry.retry_delay.ToMilliseconds() == 1000
        implementation.go.set()
        assert (await first).id == "x"
        assert (await stub.GetFile(GET)).id == "x"
        stream.cancel()


class Media(Waiting):
    """Takes large messages, and has each wait; those that say so let go of theirs before."""

    def __init__(self, *, lets_go: bool) -> None:
        super().__init__()
        self.waiting = 0
        self._lets_go = lets_go

    async def DeleteFile(self, request: Any, call: Call) -> Any:
        del request
        if self._lets_go:
            call.let_go()
        self.waiting += 1
        await self._wait()
        return files_pb2.DeleteFileResponse()

    async def GetFile(self, request: files_pb2.GetFileRequest, call: object) -> files_pb2.File:
        return files_pb2.File(id=request.id)


@pytest.mark.parametrize("lets_go", [False, True], ids=["holds", "lets go"])
async def test_large_messages_that_wait_hold_up_no_small_ones_and_who_lets_go_no_large_ones(lets_go: bool) -> None:
    implementation = Media(lets_go=lets_go)
    two = Places(reading=FairPlaces("messages", places=2, each=2, waiting=9))
    large = files_pb2.DeleteFileRequest(id="x" * 2 * SMALL_BYTES)
    async with serving(implementation, places=two, large=("DeleteFile",)) as stub:
        calls = [asyncio.ensure_future(_deleted(stub, large)) for _ in range(3)]
        async with asyncio.timeout(10):
            while implementation.waiting < (3 if lets_go else 2):  # noqa: ASYNC110  (a server tells nobody)
                await asyncio.sleep(0.01)
            assert (await stub.GetFile(GET)).id == "x"
        await asyncio.sleep(0.05)
        assert implementation.waiting == (3 if lets_go else 2)
        implementation.go.set()
        await asyncio.gather(*calls)


async def test_large_messages_are_parsed_one_after_the_other_and_calls_of_others_come_between() -> None:
    """Each keeps everybody waiting while it is unpacked and parsed: the next one comes a while after it."""
    places = Places()
    large = files_pb2.DeleteFileRequest(id="x" * 2 * LARGE_BYTES)
    async with serving(Answering(), places=places, large=("DeleteFile", "UploadFile")) as stub:
        await places.parsing.take("another tenant")
        calls = [asyncio.ensure_future(_deleted(stub, large)) for _ in range(3)]
        for _ in range(20):
            assert await _answer(stub)
        piece = files_pb2.UploadFileRequest(data=b"x" * 2 * LARGE_BYTES)
        assert (await stub.UploadFile(iter([piece]))).size_bytes == 2 * LARGE_BYTES
        assert not any(call.done() for call in calls)
        places.parsing.give("another tenant")
        async with asyncio.timeout(20):
            await asyncio.gather(*calls)
            await places.parsing.take("another tenant")  # which each has given back


async def _deleted(stub: files_pb2_grpc.FilesAsyncStub, large: files_pb2.DeleteFileRequest) -> None:
    await stub.DeleteFile(large)


class Endless(Answering):
    """Sends for as long as anybody reads."""

    async def DownloadFile(
        self, request: files_pb2.DownloadFileRequest, call: object
    ) -> AsyncGenerator[files_pb2.DownloadFileResponse]:
        while True:
            yield files_pb2.DownloadFileResponse(data=b"x" * (1 << 18))


async def test_a_removed_key_ends_a_stream_whose_client_does_not_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    metadata = (("authorization", f"Bearer {new_key(path)}"),)
    known = Keys(path)
    async with connected(Endless(), known=known) as channel:
        stream = watched(stub_of(channel), metadata=metadata)
        await stream.read()
        await asyncio.sleep(0.2)  # the windows fill
        path.write_text("")
        known.refresh()
        async with asyncio.timeout(20):
            error = await refused(_read_to_the_end(stream))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def _read_to_the_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_a_key_that_is_removed_while_its_call_waits_for_a_place_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = new_key(path)
    known = Keys(path)
    caller = known.caller(f"Bearer {key}")
    path.write_text("")
    known.refresh()
    with pytest.raises(Unauthenticated, match="was removed"):
        async with known.good_for(caller):
            await asyncio.sleep(10)


async def test_a_burst_of_streams_is_served_or_refused_in_words() -> None:
    implementation = Waiting()
    fifty = Places(
        streams=FairPlaces("streams", places=50, each=50, waiting=0),
        downloads=FairPlaces("downloads", places=50, each=50, waiting=0),
    )
    async with serving(implementation, places=fifty) as stub:
        calls = [watched(stub) for _ in range(280)]  # as many as a connection has, nearly
        said = await asyncio.gather(*(call.read() for call in calls), return_exceptions=True)
        errors = [one for one in said if isinstance(one, grpc.aio.AioRpcError)]
        assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert len(errors) == 230
        for call in calls:
            call.cancel()


async def test_a_removed_key_ends_its_streams_and_uploads(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    gone, stays = new_key(path), new_key(path, "phone")
    known = Keys(path)
    async with connected(Waiting(), known=known) as channel:
        stub = stub_of(channel)

        def metadata(key: str) -> tuple[tuple[str, str], ...]:
            return (("authorization", f"Bearer {key}"),)

        streams = {key: watched(stub, metadata=metadata(key)) for key in (gone, stays)}
        for stream in streams.values():
            await stream.read()
        upload = asyncio.ensure_future(raw(channel, "UploadFile")(metadata=metadata(gone)))
        await asyncio.sleep(0.05)
        first, *rest = path.read_text().splitlines(keepends=True)
        path.write_text("".join(rest))
        known.refresh()
        for call in (streams[gone].read(), upload):
            error = await refused(call)
            assert (error.code(), error.details()) == (
                grpc.StatusCode.UNAUTHENTICATED,
                "this API key was removed",
            ), first
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await streams[stays].read()


@pytest.mark.parametrize("text", ["z" * 60_000, "é" * 30_000])
async def test_an_error_that_repeats_what_was_sent_still_comes_as_what_it_is(text: str) -> None:
    async with serving(Answering(InvalidArgument("model", f"no model {text}"))) as stub:
        error = await refused(stub.GetFile(GET))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(error.details()).startswith("model: no model ")
    violation = detail(error, error_details_pb2.BadRequest)
    assert isinstance(violation, error_details_pb2.BadRequest)
    assert len(violation.field_violations[0].description) < 1000


def test_of_a_users_text_a_hundred_characters_are_shown() -> None:
    assert shown("kim") == "'kim'"
    assert shown("z" * 5000) == "'" + "z" * 100 + "'... (5000 characters)"


async def test_a_refused_call_leaves_nothing_of_its_message_behind() -> None:
    """Without a collection of Python's: those may come much later, and a hundred messages are a gigabyte."""
    implementation = Refusing()
    gc.collect()
    gc.disable()
    try:
        async with serving(implementation) as stub:
            for _ in range(5):
                await refused(stub.GetFile(files_pb2.GetFileRequest(id="x" * 50_000)))
            async with asyncio.timeout(5):
                while sum(one() is not None for one in implementation.seen) > 1:  # noqa: ASYNC110  (of the last call)
                    await asyncio.sleep(0.01)
    finally:
        gc.enable()


class Refusing(Answering):
    """Refuses what it was given, and remembers whether that is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[weakref.ref[bytearray]] = []

    async def GetFile(self, request: files_pb2.GetFileRequest, call: object) -> files_pb2.File:
        held = Held(request.id.encode())
        self.seen.append(weakref.ref(held))
        raise InvalidArgument("id", "no")


class Held(bytearray):
    """Bytes that can be watched going away."""
