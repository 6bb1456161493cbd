"""How many files and sockets this process may have open, and how many of those connections may take. `__main__.py`
raises the limit; `server.py` and `http.py` keep below it, so that there is always one for the store.
"""

from __future__ import annotations

import resource

WANTED = 65_536
MOST_GRPC, MOST_HTTP = 4_096, 2_048
"""Connections, where there are descriptors for them."""


def raise_limit() -> None:
    """As far as this user may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def grpc_connections() -> int:
    """How many the gRPC server may have: two fifths of all descriptors at most."""
    return min(MOST_GRPC, _limit() * 2 // 5)


def http_connections() -> int:
    """How many the HTTP server may have: a fifth at most."""
    return min(MOST_HTTP, _limit() // 5)


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft
