"""The public client pings every 30 s, also when idle; a stock server hangs up at the fourth, this one must not.

Here it pings every 2 s: a server that bears that bears 30 s too, for what it counts are pings that come too early.
What counts seconds instead, the end of a connection that is old or idle, is looked up.
"""

from __future__ import annotations

import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.frontdoor.edge.options import server_options
from tests.contract.xai_door import XaiDoor

PING_S = 2
"""Like 30, less than the 300 s for which a stock server asks."""
IDLE_S = 4 * PING_S + 4


def stock_server() -> tuple[grpc.Server, int]:
    """A server as the library makes it, which answers one method with an empty message."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    answer: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("xai_api.Auth", {"get_api_key_info": answer}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_an_idle_client_keeps_its_connection(tmp_path: Path) -> None:
    server, stock_port = stock_server()
    seen: dict[str, dict[str, Any]] = {}
    with XaiDoor(tmp_path) as door:

        def sit(name: str, port: int) -> None:
            seen[name] = door.client(
                "idle.py",
                "silence",
                asynchronous=name == "stock",
                LONGTAKE_HOST=f"localhost:{port}",
                IDLE_S=str(IDLE_S),
                PING_S=str(PING_S),
            )

        clients = [
            threading.Thread(target=sit, args=("ours", door.grpc_port)),
            threading.Thread(target=sit, args=("stock", stock_port)),
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    server.stop(None)

    want_held = {"first": "OK", "last": "OK", "connected": 1, "same_connection": True, "own_ping_s": 30}
    assert seen["ours"] == want_held
    # If the stock server held it too, this test would prove nothing.
    assert not seen["stock"]["same_connection"]


def test_no_connection_ends_because_it_is_old_and_an_idle_one_only_after_ten_minutes() -> None:
    ends = {name: value for name, value in server_options(100) if "max_connection" in name}
    assert ends == {"grpc.max_connection_idle_ms": 600_000}
