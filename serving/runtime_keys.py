"""Small facts of one installation that its processes find in the store, under `runtime/`.

Front doors and the Director meet here: the Director's address, the token that their calls carry, the key that
signs URLs. Secrets are made by whichever process comes first and never change afterwards.
"""

from __future__ import annotations

import json
import secrets

from serving.errors import NotFound
from serving.store.base import Store

DIRECTOR_ADDRESS = "runtime/director"
"""JSON {"address": "host:port"} of Serve's gRPC proxy, written by `longtake up`."""
DIRECTOR_TOKEN = "runtime/director-token"  # noqa: S105  (a key's name)
"""Hex text: `Wake` and `Watch` carry it as `longtake-token` metadata."""
URL_KEY = "runtime/url-key"
"""Hex text: signs media URLs and the box that marks our own files."""

TOKEN_METADATA = "longtake-token"  # noqa: S105  (a header's name)


async def shared_secret(store: Store, key: str) -> str:
    """The installation's secret under `key`: 64 hex characters, made now if nobody has."""
    await store.put_if_absent(key, secrets.token_hex(32).encode())
    return (await store.get(key)).data.decode()


async def director_address(store: Store) -> str | None:
    """Where the Director listens, as `longtake up` wrote it; None while nothing did."""
    try:
        found = await store.get(DIRECTOR_ADDRESS)
    except NotFound:
        return None
    address: str = json.loads(found.data)["address"]
    return address
