"""A bare grpc.aio echo server in a process of its own: the least that any answer can cost here.

Run as `python -m loadtests.echo`; it prints its port and answers `/bench.Echo/Get` with as many bytes as the request's
eight-byte little-endian head asks for, until its standard input closes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio

ECHO = "/bench.Echo/Get"


async def _answer(request: bytes, _: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    return bytes(int.from_bytes(request[:8], "little"))


async def main() -> None:
    """Serve until standard input closes."""
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Get": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
