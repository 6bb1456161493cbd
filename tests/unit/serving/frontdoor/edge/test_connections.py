"""Who opens HTTP connections and says nothing, or too much, or reads nothing. A real server and real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from serving.frontdoor.edge import connections
from serving.frontdoor.edge.connections import Connection
from serving.frontdoor.edge.http import HttpServer

pytestmark = pytest.mark.anyio

ASK = b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n"


async def short(_: Request) -> Response:
    return PlainTextResponse("ok")


async def endless(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


@asynccontextmanager
async def served() -> AsyncIterator[HttpServer]:
    server = HttpServer("127.0.0.1:0")
    server.start(Starlette(routes=[Route("/short", short), Route("/endless", endless)]))
    try:
        yield server
    finally:
        await server.stop()


async def connect(server: HttpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = server.address.split(":")
    return await asyncio.open_connection(host, int(port))


async def said(reader: asyncio.StreamReader) -> bytes:
    """All until the server closes."""
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"GET /short HTTP/1.1\r\nX-a: ", ASK])
async def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(Connection, "request_s", 0.1)
    async with served() as server:
        reader, writer = await connect(server)
        writer.write(sent)
        answer = await said(reader)
        assert answer.endswith(b"ok") if sent == ASK else not answer
        writer.close()


async def test_a_reader_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "stalled_s", 0.2)
    async with served() as server:
        reader, writer = await connect(server)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.5)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1 << 30)
        writer.close()


async def test_a_reader_that_reads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "stalled_s", 0.3)
    async with served() as server:
        reader, writer = await connect(server)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.05)
            await reader.readexactly(1 << 20)
        writer.transport.abort()


async def test_headers_without_an_end_are_refused() -> None:
    async with served() as server:
        reader, writer = await connect(server)
        writer.write(b"GET /short HTTP/1.1\r\n" + b"X-a: b\r\n" * 20_000)
        answer = await said(reader)  # it may be lost, for the rest of the headers meets a closed connection
        assert answer.startswith(b"HTTP/1.1 400") or not answer
        writer.close()


async def test_where_connections_are_too_many_those_go_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "http_connections", lambda: 3)
    async with served() as server:
        working, asking = await connect(server)
        asking.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await working.readexactly(100)
        silent = [await connect(server) for _ in range(8)]
        await asyncio.sleep(0.1)
        open_still = [reader for reader, _ in silent if not reader.at_eof() and reader.exception() is None]
        assert len(open_still) <= 3
        await working.readexactly(1 << 20)
        for _, writer in [*silent, (working, asking)]:
            writer.transport.abort()
