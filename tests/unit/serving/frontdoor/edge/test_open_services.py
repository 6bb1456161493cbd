"""Health and reflection, which strangers call: what they send is read a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from serving.frontdoor.edge.messages import Context, Messages
from serving.frontdoor.edge.open_services import OpenServices
from serving.frontdoor.edge.options import SMALL_BYTES, server_options

pytestmark = pytest.mark.anyio
LARGE = "x" * SMALL_BYTES
EACH = 4


@asynccontextmanager
async def connected() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(options=server_options(100))
    to = OpenServices(server)
    to.describe(health_pb2.DESCRIPTOR.services_by_name["Health"])
    to.describe(reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"])
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, to)
    reflecting = reflection.aio.ReflectionServicer([health.SERVICE_NAME])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, to)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def checked(channel: grpc.aio.Channel, service: str = "") -> bool:
    stub: health_pb2_grpc.HealthAsyncStub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def reflected(channel: grpc.aio.Channel, symbol: str = health.SERVICE_NAME) -> bool:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([asked]), timeout=20)]
    return [answer.WhichOneof("message_response") for answer in answers] == ["file_descriptor_response"]


@pytest.mark.parametrize("ask", [checked, reflected])
async def test_strangers_messages_are_read_a_few_at_a_time(
    ask: Callable[[grpc.aio.Channel, str], Awaitable[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How large one is, is known when it is here: so many of the largest are what memory must hold."""
    reads, most = [0], [0]
    read = Messages._read

    async def counted(self: Messages, context: Context, tenant: str | None = None) -> object:
        reads[0] += 1
        most[0] = max(most[0], reads[0])
        await asyncio.sleep(0.005)
        try:
            return await read(self, context, tenant)
        finally:
            reads[0] -= 1

    monkeypatch.setattr(Messages, "_read", counted)
    async with connected() as channel:
        said = await asyncio.gather(*(ask(channel, LARGE) for _ in range(10 * EACH)), return_exceptions=True)
        assert {one.code() for one in said if isinstance(one, grpc.aio.AioRpcError)} == {
            grpc.StatusCode.RESOURCE_EXHAUSTED
        }
        assert most[0] == EACH
        assert await (checked(channel) if ask is checked else reflected(channel))


async def test_who_says_nothing_keeps_others_waiting_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.frontdoor.edge.open_services._READ_S", 0.1)
    async with connected() as channel:
        method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary("/grpc.health.v1.Health/Check")
        silent = [method(timeout=20) for _ in range(2 * EACH)]
        await asyncio.sleep(0.05)
        assert await checked(channel)
        for call in silent:
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
