"""A certificate that is renewed while the server runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from serving.frontdoor.edge.options import server_options
from serving.frontdoor.edge.tls import Certificate
from tests.contract.certificates import self_signed

pytestmark = pytest.mark.anyio


async def trusted(port: int, root: bytes) -> bool:
    """Whether a new connection finds the certificate of this root."""
    credentials = grpc.ssl_channel_credentials(root)
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        try:
            async with asyncio.timeout(5):
                method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/none/None")
                await method(b"", timeout=2)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
    return False


async def test_new_connections_see_the_renewed_certificate_and_a_broken_one_is_passed_over(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("served", "old", "new")]
    for folder in folders:
        folder.mkdir()
    served, old, new = (self_signed(folder) for folder in folders)
    for path, first in zip(served, old, strict=True):
        path.write_bytes(first.read_bytes())
    server = grpc.aio.server(options=server_options(100))
    port = server.add_secure_port("127.0.0.1:0", Certificate(*served).credentials())
    await server.start()
    roots = [pair[0].read_bytes() for pair in (old, new)]
    try:
        assert [await trusted(port, root) for root in roots] == [True, False]
        served[0].write_bytes(b"half of it")
        assert await trusted(port, roots[0])
        for path, second in zip(served, new, strict=True):
            path.write_bytes(second.read_bytes())
        assert [await trusted(port, root) for root in roots] == [False, True]
    finally:
        await server.stop(0)
