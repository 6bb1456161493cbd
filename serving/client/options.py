"""How a client reaches its server, the same for both forms. Pure, but for the CA file that it reads."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

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


@dataclass(frozen=True)
class Options:
    """What `Client` and `AsyncClient` were opened with; their docstrings say what each means."""

    server: str
    api_key: str | None
    tls: bool
    ca_file: Path | None
    timeout_s: float
    retries: int

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
