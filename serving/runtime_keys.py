"""Small facts of one installation that its processes find in the store, under `runtime/`.

Front doors and the Director meet here: the Director's address, the token that their calls carry, the key that
signs URLs. Secrets are made by whichever process comes first and never change afterwards.
"""

from __future__ import annotations

import json
import secrets

from serving.errors import Conflict, NotFound
from serving.store.base import Store
from serving.store.keys import DIRECTOR_ADDRESS

TOKEN_METADATA = "longtake-token"  # noqa: S105  (a header's name)
"""`Wake` and `Watch` carry the Director's token under this name."""


async def shared_secret(store: Store, key: str) -> str:
    """The installation's secret under `key`: 64 hex characters, made now if nobody has."""
    await store.put_if_absent(key, secrets.token_hex(32).encode())
    return (await store.get(key)).data.decode()


async def announce_director(store: Store, address: str) -> None:
    """Write where the Director listens (`host:port` of Serve's gRPC proxy), for front doors to find."""
    data = json.dumps({"address": address, "nonce": secrets.token_hex(8)}).encode()
    while not await store.put_if_absent(DIRECTOR_ADDRESS, data):
        try:
            await store.swap(DIRECTOR_ADDRESS, data, (await store.get(DIRECTOR_ADDRESS)).version)
        except (Conflict, NotFound):
            continue
        return


async def director_address(store: Store) -> str | None:
    """Where the Director listens, as `announce_director` wrote it; None while nothing did."""
    try:
        found = await store.get(DIRECTOR_ADDRESS)
    except NotFound:
        return None
    address: str = json.loads(found.data)["address"]
    return address
