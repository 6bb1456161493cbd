"""A client that says nothing for longer than a stock server bears its pings. `test_xai_keepalive.py` runs it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from session import main, refused
from xai_sdk.client import _DEFAULT_CHANNEL_OPTIONS


def connections(port: int) -> list[str]:
    """Local ends of this machine's established connections to a port."""
    found = []
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if state == "01" and int(remote.rpartition(":")[2], 16) == port:
                found.append(local)
    return sorted(found)


async def silence(client: Any) -> dict[str, Any]:
    """One call, silence, one call; and whether it went over the same connection."""
    port = int(os.environ["LONGTAKE_HOST"].rpartition(":")[2])
    first = await refused(client.auth.get_api_key_info)
    before = connections(port)
    await asyncio.sleep(float(os.environ["IDLE_S"]))
    last = await refused(client.auth.get_api_key_info)
    return {
        "first": first["code"],
        "last": last["code"],
        "connected": len(before),
        "same_connection": before == connections(port),
        "own_ping_s": dict(_DEFAULT_CHANNEL_OPTIONS)["grpc.keepalive_time_ms"] / 1000,
    }


if __name__ == "__main__":
    main(silence)
