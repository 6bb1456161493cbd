"""What is being deleted at this moment: how those who write blobs and the collector keep out of each other's way.

    runtime/sweep       {"nonce", "keys": [...]}        swapped; without keys nothing is being deleted

There is no conditional delete, and a blob that nobody needs may be needed again at any moment: somebody writes the same
bytes, finds them there, and names their digest a little later. So both sides first do, then look:

* The collector announces the keys of a batch here, then looks how old they are now, then deletes those that are still
  old, then takes the announcement back (`announced`; the deletes are `retention/sweep.py`).
* A writer puts the blob, or touches the one that it finds, then looks here (`undisturbed`). While its key is announced
  it waits for the batch to end and puts the blob again.

If the writer does not see its key, then either the batch was announced after it looked, and the collector finds the
blob young; or the batch had ended before, and then the writer sees whether the blob is there. Both are reads that
follow a write in a linearizable store, so at least one side notices the other; no clocks are compared. A collector that
dies in the middle of a batch leaves its announcement behind. It would have ended within `BATCH_S` and one request's
time, so an announcement that an observer's own monotonic clock has seen unchanged for `STALE_S` holds nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from serving.errors import Conflict, NotFound
from serving.store.base import Store
from serving.store.keys import SWEEP

BATCH_S = 15.0
"""No delete of a batch is begun later than this after its announcement."""
STALE_S = 60.0
"""More than `BATCH_S` and the longest request of a store's client."""
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class _Announcement:
    nonce: str
    keys: frozenset[str]
    version: str


async def undisturbed(store: Store, key: str) -> bool:
    """Ask after `key` was put or touched: True when it stays, False when a sweep may have taken it: put it again."""
    found = await _read(store)
    if found is None:  # nothing was ever swept here
        return True
    if key in found.keys:
        if not await _stale(store, found):
            return False
        with contextlib.suppress(Conflict, NotFound):  # so that nobody waits for the dead one again
            await store.swap(SWEEP, _encode(()), found.version)
    return await _exists(store, key)


@contextlib.asynccontextmanager
async def announced(store: Store, keys: Sequence[str]) -> AsyncIterator[None]:
    """Announce `keys` while the block runs. One batch at a time: waits for that of another collector.

    When the block fails, the announcement stays until it is stale: a delete may still be on its way.
    """
    version = await _announce(store, keys)
    yield
    with contextlib.suppress(Conflict):  # another collector took us for dead, and has announced its own
        await store.swap(SWEEP, _encode(()), version)


async def _announce(store: Store, keys: Sequence[str]) -> str:
    await store.put_if_absent(SWEEP, _encode(()))
    while True:
        found = await _read(store)
        if found is None:
            continue
        if found.keys and not await _stale(store, found):
            continue
        with contextlib.suppress(Conflict):
            return await store.swap(SWEEP, _encode(keys), found.version)


async def _stale(store: Store, found: _Announcement) -> bool:
    """Wait for the announcement to change; True when it does not for so long that its collector must be dead."""
    now = asyncio.get_running_loop().time
    ends = now() + STALE_S
    while now() < ends:
        await asyncio.sleep(_LOOK_EVERY_S)
        current = await _read(store)
        if current is None or current.nonce != found.nonce:
            return False
    return True


async def _read(store: Store) -> _Announcement | None:
    try:
        stored = await store.get(SWEEP)
    except NotFound:
        return None
    record = json.loads(stored.data)
    return _Announcement(record["nonce"], frozenset(record["keys"]), stored.version)


async def _exists(store: Store, key: str) -> bool:
    try:
        await store.get_range(key, 0, 1)
    except NotFound:
        return False
    return True


def _encode(keys: Sequence[str]) -> bytes:
    return json.dumps({"nonce": secrets.token_hex(8), "keys": list(keys)}).encode()
