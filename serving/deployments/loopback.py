"""On one machine, Serve's own gRPC servers listen on loopback only. Replicas call it, and the proxy of `longtake up`.

Serve binds them to every address, and a replica's unpickles what it is sent: whoever reaches the port and has Ray's
token runs code as this user. Ray has no setting for it, so the functions by which Serve binds them are replaced, in the
processes that do. In a cluster, whose nodes call each other, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import ray
from ray.serve._private import default_impl, replica

from serving.settings import is_loopback


def of_replica() -> None:
    """To be called in a replica's constructor, after which Serve binds its server."""
    node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if is_loopback(f"{node}:0"):
        _replace(replica, "add_port_to_grpc_server")


def of_proxy() -> list[Any]:
    """Serve's proxy calls it before it binds its servers, and adds the middlewares that it returns: none."""
    _replace(default_impl, "add_grpc_address")
    return []


def _replace(module: ModuleType, name: str) -> None:
    """By a function that binds to loopback what this one binds elsewhere."""
    bind: Callable[[Any, str], Any] = vars(module)[name]

    def on_loopback(server: Any, address: str) -> Any:
        return bind(server, f"127.0.0.1:{address.rpartition(':')[2]}")

    setattr(module, name, on_loopback)
