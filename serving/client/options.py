"""How a client reaches its server, the same for both forms. Pure, but for the CA file that it reads."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import grpc

from serving.client.errors import DownloadFailed, Unsendable

Web = TypeVar("Web")
DEFAULT_SERVER = "127.0.0.1:50051"
TIMEOUT_S = 120.0
RETRIES = 3
CHANNEL: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 20 << 20),
    ("grpc.max_send_message_length", 20 << 20),
    # A peer that is gone without a word is noticed while a call waits for it, so that a watch can be opened again.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Each resend is ours, with a request id; gRPC's own would only hide them.
    ("grpc.enable_retries", 0),
)
"""Of every channel."""
_NO_PROXY = ("grpc.enable_http_proxy", 0)
_BEFORE_HOST = re.compile(r"(dns|ipv4|ipv6):(//[^/]*/)?")
_URL = re.compile(r"https?:|.*/$|.*\s|$", re.DOTALL)


@dataclass(frozen=True)
class Options:
    """What `Client` and `AsyncClient` were opened with; their docstrings say what each means. Raises `Unsendable`."""

    server: str
    api_key: str | None
    tls: bool
    ca_file: Path | None
    timeout_s: float
    retries: int

    def __post_init__(self) -> None:
        if _URL.match(self.server) or not _is_text(self.server):
            raise Unsendable(f"server: {self.server!r}: write host:port, without http:// before it or a slash after it")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise Unsendable("api_key: it has characters that no key has, perhaps the end of a line")

    @property
    def channel(self) -> tuple[tuple[str, int], ...]:
        """The channel's options. This machine is asked without the environment's proxy, which is another machine."""
        address = _BEFORE_HOST.sub("", self.server)
        host = address.rpartition(":")[0] or address
        return (*CHANNEL, _NO_PROXY) if is_loopback(host.strip("[]")) else CHANNEL

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Goes with every call."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Of the channel; None without TLS. Raises `OSError` for the CA file."""
        if self.ca_file is not None:
            return grpc.ssl_channel_credentials(self.ca_file.read_bytes())
        return grpc.ssl_channel_credentials() if self.tls else None

    def https(self) -> ssl.SSLContext:
        """Whom downloads trust. Raises `OSError` for the CA file."""
        return ssl.create_default_context(cafile=self.ca_file)

    def web(self, kind: Callable[..., Web], url: str) -> Web:
        """One of httpx's clients, for this URL. Raises `OSError` for the CA file, and `DownloadFailed` for a proxy of
        the environment that it cannot use: one by SOCKS takes a package more.
        """
        from httpx import InvalidURL  # half the time that importing the client would take

        here = is_loopback(urlsplit(url).hostname or "")
        trusted = self.https()
        try:
            return kind(verify=trusted, timeout=60, follow_redirects=True, trust_env=not here)
        except (ImportError, ValueError, InvalidURL) as error:
            why = (
                "by SOCKS takes `pip install httpx[socks]`" if isinstance(error, ImportError) else f"is none ({error})"
            )
            raise DownloadFailed(
                f"{url.partition('?')[0]}: the proxy that the environment names {why}; or name the host in NO_PROXY"
            ) from error


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is of this very machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_text(given: str) -> bool:
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True
