"""A certificate that is renewed while the server runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from serving.errors import SettingsError
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


def three(folder: Path) -> list[tuple[Path, Path]]:
    """Certificates and keys: those that are served, which are the second ones at first, and the third ones."""
    folders = [folder / name for name in ("served", "old", "new")]
    for one in folders:
        one.mkdir()
    served, old, new = (self_signed(one) for one in folders)
    for path, first in zip(served, old, strict=True):
        path.write_bytes(first.read_bytes())
    return [served, old, new]


async def test_new_connections_see_the_renewed_certificate_and_a_broken_one_is_passed_over(tmp_path: Path) -> None:
    served, old, new = three(tmp_path)
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


async def test_a_key_that_is_not_the_certificates_is_never_shown_and_told_of_once(tmp_path: Path) -> None:
    served, old, new = three(tmp_path)
    certificate = Certificate(*served)
    served[0].write_bytes(new[0].read_bytes())
    with capture_logs() as logged:
        assert [certificate._renewed() for _ in range(3)] == [None] * 3
    assert certificate._pair == (old[1].read_bytes(), old[0].read_bytes())
    assert [(one["log_level"], one["details"]) for one in logged] == [
        ("warning", "the key is not that of the certificate")
    ]
    served[1].unlink()
    with capture_logs() as logged:
        assert [certificate._renewed() for _ in range(3)] == [None] * 3
    assert len(logged) == 1
    served[1].write_bytes(new[1].read_bytes())
    assert certificate._renewed() is not None
    assert certificate._pair == (new[1].read_bytes(), new[0].read_bytes())


def test_a_server_does_not_begin_with_a_pair_that_does_not_fit(tmp_path: Path) -> None:
    (certificate, key), (_, another), _ = three(tmp_path)
    another.write_bytes((tmp_path / "new" / "key.pem").read_bytes())
    Certificate(certificate, key)
    for wrong, why in ((another, "not that of the certificate"), (certificate, "no PEM"), (tmp_path / "x", "No such")):
        with pytest.raises(SettingsError, match=rf"`grpc.tls_cert` and `grpc.tls_key`: .*{why}"):
            Certificate(certificate, wrong)
