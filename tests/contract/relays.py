"""Relays in front of a real front door that lose what a test tells them to: answers of gRPC, and bytes of HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass
class Losses:
    """What is lost, and what came by."""

    answers: Counter[str] = field(default_factory=Counter)
    """By method: how many of its next answers are lost. The call arrives and takes effect."""
    cuts: list[int] = field(default_factory=list)
    """After how many messages each of the next streams is lost."""
    calls: Counter[str] = field(default_factory=Counter)
    """By method, whatever became of them."""


@asynccontextmanager
async def lossy_grpc(upstream: str) -> AsyncIterator[tuple[str, Losses]]:
    """Its address, and what to lose."""
    losses = Losses()
    server = grpc.aio.server()
    async with grpc.aio.insecure_channel(upstream) as channel:
        server.add_generic_rpc_handlers((_Everything(channel, losses),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}", losses
        finally:
            await server.stop(0)


class _Everything(grpc.GenericRpcHandler):
    """Hands every call on as it came."""

    def __init__(self, channel: grpc.aio.Channel, losses: Losses) -> None:
        self._channel = channel
        self._losses = losses

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = handler_call_details.method
        name = path.rpartition("/")[2]

        async def one(request: bytes, context: Context) -> bytes:
            self._losses.calls[name] += 1
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
            answer = await call(request)
            await self._lose(name, context)
            return answer

        async def many(request: bytes, context: Context) -> AsyncIterator[bytes]:
            self._losses.calls[name] += 1
            await self._lose(name, context)
            left = self._losses.cuts.pop(0) if self._losses.cuts else None
            call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(path)
            async for answer in call(request):
                if left == 0:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the relay lost the connection")
                left = None if left is None else left - 1
                yield answer

        if name.startswith(("Watch", "Download")):
            return grpc.unary_stream_rpc_method_handler(many)
        return grpc.unary_unary_rpc_method_handler(one)

    async def _lose(self, name: str, context: Context) -> None:
        if self._losses.answers[name] > 0:
            self._losses.answers[name] -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the relay lost the answer")


@dataclass
class Cuts:
    """What an HTTP relay does to its connections."""

    upstream: str = ""
    """host:port; known once the server listens."""
    after: list[int] = field(default_factory=list)
    """How many bytes of an answer each of the next connections lets through."""
    requests: list[bytes] = field(default_factory=list)
    """The heads of all requests, in lower case."""


@asynccontextmanager
async def cutting_http() -> AsyncIterator[tuple[str, Cuts]]:
    """Its address, and what to cut."""
    cuts = Cuts()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        cuts.requests.append(head.lower())
        left = cuts.after.pop(0) if cuts.after else None
        host, _, port = cuts.upstream.rpartition(":")
        back, to = await asyncio.open_connection(host, int(port))
        to.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        with suppress(ConnectionResetError):  # who has heard enough hangs up
            while (data := await back.read(65536)) and left != 0:
                writer.write(data if left is None else data[:left])
                left = None if left is None else max(0, left - len(data))
                await writer.drain()
        for end in (to, writer):
            end.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}", cuts
