"""The Director's ingress without a Director: its feed, told over a real gRPC server."""

# ruff: noqa: N802  (the wire decides the names)

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from serving.director.events import Feed
from serving.director.messages import watch_response
from serving.gen.longtake.internal.v1 import director_pb2, director_pb2_grpc
from serving.runtime_keys import TOKEN_METADATA


class Ingress(director_pb2_grpc.DirectorServicer):
    """The Director's two methods over a feed."""

    def __init__(self, feed: Feed, token: str) -> None:
        self.feed = feed
        self.token = token
        self.woken: list[str] = []
        self.stream_s = 30.0
        self.refuses = False
        """As a Director that lost its epoch."""

    async def Wake(
        self, request: director_pb2.WakeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> director_pb2.WakeResponse:
        await self._check(context)
        self.woken.append(request.job)
        return director_pb2.WakeResponse(epoch=self.feed.epoch)

    async def Watch(
        self, request: director_pb2.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[director_pb2.WatchResponse]:
        await self._check(context)
        async for batch in self.feed.watch(request.cursor, request.epoch, seconds=self.stream_s):
            yield watch_response(batch)

    async def _check(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if (TOKEN_METADATA, self.token) not in (context.invocation_metadata() or ()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        if self.refuses:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this Director does not work any more")


@asynccontextmanager
async def serving(ingress: Ingress, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = grpc.aio.server()
    director_pb2_grpc.add_DirectorServicer_to_server(ingress, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
