"""The load generator against the real echo server."""

from __future__ import annotations

import grpc.aio
import pytest

from loadtests.echo import ECHO
from loadtests.harness import burst, echo_server, interleaved

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_burst_sends_every_request_and_the_echo_answers_the_size_asked_for() -> None:
    request = (300).to_bytes(8, "little")
    with echo_server() as (pid, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ECHO)
            assert len(await call(request)) == 300
            sent = await burst(channel, ECHO, [request] * 50, pid, concurrency=4)

    assert sent.calls == 50
    assert sent.per_second == pytest.approx(50 / sent.seconds)
    assert sent.cpu_us >= 0


async def test_arms_take_turns_and_each_runs_once_unmeasured() -> None:
    order: list[str] = []

    async def arm() -> str:
        order.append("A")
        return "A"

    async def base() -> str:
        order.append("B")
        return "B"

    arms, bases = await interleaved(3, arm, base)

    assert "".join(order) == "AB" + "AB" + "BA" + "AB"
    assert (arms, bases) == (["A"] * 3, ["B"] * 3)
