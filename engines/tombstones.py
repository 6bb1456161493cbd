"""Objects that are removed and made again, in a store that has no conditional delete.

What is removed is replaced by a tombstone, so that nobody removes what another has just put there. `store.py` keeps
manifests so, `added.py` the records of models.
"""

from __future__ import annotations

import json
import secrets
from typing import Final

from engines.objects import Objects

_BEGINS: Final = b'{"format": 1, "removed": '


def is_one(data: bytes) -> bool:
    """Whether something was there, and was removed."""
    return data.startswith(_BEGINS)


async def get(objects: Objects, key: str, *, limit: int) -> bytes | None:
    """What lies there, of `limit` bytes at most; None where nothing does, or was removed."""
    found = await objects.get(key, limit=limit)
    return None if found is None or is_one(found.data) else found.data


async def put(objects: Objects, key: str, data: bytes, *, limit: int) -> bool:
    """Put it where there is none, or one that was removed; False where there is one."""
    if await objects.put_if_absent(key, data):
        return True
    there = await objects.get(key, limit=limit)
    return there is not None and is_one(there.data) and await objects.replace(key, data, there.version)


async def remove(objects: Objects, key: str, *, limit: int) -> bytes | None:
    """It does not exist from now on. What lay there; None where nothing did."""
    while (there := await objects.get(key, limit=limit)) is not None and not is_one(there.data):
        # Each one differs from the last, so that a version names one object alone.
        if await objects.replace(key, _BEGINS + json.dumps(secrets.token_hex(8)).encode() + b"}\n", there.version):
            return there.data
    return None
