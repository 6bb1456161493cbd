"""Where a client goes and by what way."""

from __future__ import annotations

import pytest

from serving.client import ClientError, Unsendable
from serving.client.options import Options


def options(server: str, api_key: str | None = None) -> Options:
    return Options(server, api_key, tls=False, ca_file=None, timeout_s=1, retries=0)


@pytest.mark.parametrize(
    ("server", "proxied"),
    [
        ("127.0.0.1:50051", False),
        ("127.9.9.9:1", False),
        ("localhost:1", False),
        ("box.localhost:1", False),
        ("[::1]:1", False),
        ("dns:///localhost:1", False),
        ("dns://8.8.8.8/localhost:1", False),
        ("ipv4:127.0.0.1:1", False),
        ("localhost", False),
        ("video.example:443", True),
        ("10.0.0.1:50051", True),
        ("[fd00::1]:1", True),
    ],
)
def test_this_machine_is_asked_without_a_proxy(server: str, *, proxied: bool) -> None:
    found = options(server)
    assert (("grpc.enable_http_proxy", 0) not in found.channel) is proxied
    assert found.fetching(f"http://{server.rpartition('/')[2].removeprefix('ipv4:')}/v/x.mp4")["trust_env"] is proxied


@pytest.mark.parametrize("server", ["", " ", "http://127.0.0.1:1", "https://x", "127.0.0.1:1/", "a b:1", "\udcff:1"])
def test_a_server_that_is_no_address_is_told_how_to_write_it(server: str) -> None:
    with pytest.raises(Unsendable, match=r"server: .*host:port"):
        options(server)


@pytest.mark.parametrize("key", ["lt-a\n", "lt-\xe9", "lt-\x00", "lt-\udcff"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ClientError, match="api_key") as refused:
        options("127.0.0.1:1", key)
    assert "lt-" not in str(refused.value)
