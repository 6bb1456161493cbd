"""A connection that has come to its age is left between calls: that costs nobody an answer."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from serving.frontdoor.edge.options import server_options

pytestmark = pytest.mark.anyio


async def test_clients_that_call_all_the_time_connect_anew_and_lose_no_call() -> None:
    peers: set[str] = set()

    async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        peers.add(context.peer())
        await asyncio.sleep(0.002)
        return request

    server = grpc.aio.server(options=server_options(100, connection_s=1))
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", {"C": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/a.B/C")
        async with asyncio.timeout(60):
            while len(peers) < 3:
                await call(b"x")
    await server.stop(0)
