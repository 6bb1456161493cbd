"""What a later version of Longtake writes: the same records, with fields that this version does not know."""

from __future__ import annotations

import json
from typing import Any

from serving.store.base import Store


def grown(data: bytes, where: str = "", **fields: Any) -> bytes:
    """A JSON object with more fields, before the others; `where`: of a part of it, as `plan` or `events.0`."""
    record = json.loads(data)
    part = record
    for name in filter(None, where.split(".")):
        part = part[int(name) if name.isdigit() else name]
    known = dict(part)
    part.clear()
    part.update({**fields, **known, **fields})
    return json.dumps(record).encode()


async def rewrite(store: Store, key: str, where: str = "", **fields: Any) -> None:
    """A later version has written the object."""
    found = await store.get(key)
    await store.swap(key, grown(found.data, where, **fields), found.version)


async def read(store: Store, key: str) -> Any:
    """What lies there."""
    return json.loads((await store.get(key)).data)
