"""What all scripts of the public client share. Each runs in a process of its own: its protos and ours share a name.

    python videos.py SCENARIO [--async]     with XAI_API_KEY and LONGTAKE_HOST set; prints one JSON object

With PING_S set, an idle client pings so often instead of as often as its authors chose.

A scenario takes a client and returns what it saw. The same scenario drives the sync and the async client.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import xai_sdk

FAST = {"interval": timedelta(milliseconds=50), "timeout": timedelta(seconds=60)}
"""Polling of `generate` and `extend`."""
Scenario = Callable[[Any], Awaitable[dict[str, Any]]]


async def settle(value: Any) -> Any:
    """The result, whichever client it came from."""
    return await value if inspect.isawaitable(value) else value


async def refused(value: Callable[[], Any]) -> dict[str, str]:
    """The status that a call ends with."""
    try:
        await settle(value())
    except grpc.RpcError as error:
        return {"code": error.code().name, "message": error.details() or ""}
    return {"code": "OK", "message": ""}


def fetch(url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A plain HTTP request without credentials: status, headers (lower-case) and body."""
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return {"status": response.status, "headers": _lower(response.headers), "body": response.read()}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "headers": _lower(error.headers), "body": error.read()}


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def save(url: str, name: str) -> str:
    """Download to the working directory; the path."""
    path = Path.cwd() / name
    path.write_bytes(fetch(url)["body"])
    return str(path)


def open_client(*, asynchronous: bool) -> Any:
    """A client as its own manual opens one for a server on this machine."""
    kind = xai_sdk.AsyncClient if asynchronous else xai_sdk.Client
    ping_s = os.environ.get("PING_S")
    return kind(
        channel_options=[("grpc.keepalive_time_ms", 1000 * int(ping_s))] if ping_s else None,
        api_key=os.environ["XAI_API_KEY"],
        api_host=os.environ["LONGTAKE_HOST"],
        use_insecure_channel=os.environ.get("LONGTAKE_INSECURE") == "1",
    )


def main(*scenarios: Scenario) -> None:
    """Run the scenario that the command line names."""
    named = {scenario.__name__: scenario for scenario in scenarios}

    async def run() -> dict[str, Any]:
        client = open_client(asynchronous="--async" in sys.argv)
        return await named[sys.argv[1]](client)

    print(json.dumps(asyncio.run(run())))
