"""The server that is attacked, as its attackers and the bystander reach it. `attacks.py` and `watching.py` use it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from serving.frontdoor.edge.auth import BEARER

OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    # A connection of its own for each channel, as clients on other machines have.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Server:
    """Where it listens, and its process on this machine."""

    address: str
    http: str
    pid: int
    key: str = ""
    """The API key of whoever attacks; empty: none."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Goes with every call."""
        return (("authorization", BEARER + self.key),) if self.key else ()

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """A connection."""
        with grpc.insecure_channel(self.address, OPTIONS) as channel:
            yield channel

    def connect_http(self) -> socket.socket:
        """A bare connection to the HTTP port."""
        return _connect(self.http)

    def connect_grpc(self) -> socket.socket:
        """A bare connection to the gRPC port."""
        return _connect(self.address)


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)
