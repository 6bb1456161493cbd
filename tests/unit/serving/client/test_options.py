"""Where a client goes and by what way."""

from __future__ import annotations

import sys

import httpx
import pytest

from serving.client import ClientError, DownloadFailed, Unsendable
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
    url = f"http://{server.rpartition('/')[2].removeprefix('ipv4:')}/v/x.mp4"
    assert found.web(dict[str, object], url)["trust_env"] is proxied


@pytest.mark.parametrize(
    ("proxy", "advice"),
    [
        ("socks5://me:secret@127.0.0.1:9", "by SOCKS takes `pip install httpx"),
        ("socks://me:secret@127.0.0.1:9", "is none"),
    ],
)
@pytest.mark.parametrize("kind", [httpx.Client, httpx.AsyncClient])
def test_a_proxy_that_cannot_be_used_is_told_of(
    kind: type[httpx.Client | httpx.AsyncClient], proxy: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "socksio", None)
    options("x").web(kind, "http://127.0.0.1:8080/v/x.mp4?sig=1")
    with pytest.raises(DownloadFailed, match=rf"x.mp4: the proxy that .* {advice}.*NO_PROXY$") as caught:
        options("x").web(kind, "http://video.example/v/x.mp4?sig=1")
    assert "secret" not in str(caught.value)
    assert "sig" not in str(caught.value)


@pytest.mark.parametrize("server", ["", " ", "http://127.0.0.1:1", "https://x", "127.0.0.1:1/", "a b:1", "\udcff:1"])
def test_a_server_that_is_no_address_is_told_how_to_write_it(server: str) -> None:
    with pytest.raises(Unsendable, match=r"server: .*host:port"):
        options(server)


@pytest.mark.parametrize("key", ["lt-a\n", "lt-\xe9", "lt-\x00", "lt-\udcff"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ClientError, match="api_key") as refused:
        options("127.0.0.1:1", key)
    assert "lt-" not in str(refused.value)
