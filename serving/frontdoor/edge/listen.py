"""Takes a TCP port. Both servers of the front door listen by it; `longtake up` and `doctor` try ports before they need
them.
"""

from __future__ import annotations

import socket

from serving.settings import split_address


def listen(address: str) -> socket.socket:
    """A listening socket on host:port. Raises `OSError` when the port is taken, or the host is not this machine's."""
    host, port = split_address(address)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
