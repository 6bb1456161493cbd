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
follow a write in a linearizable store, so at least one side notices the other.

A collector may die in the middle of a batch, or be stopped, or a delete of its may be held up on its way, and then its
announcement stays. So a batch has an end that the store itself keeps: `BATCH_S` after the announcement was written, by
the store's own clock, it refuses the batch's deletes (`Store.delete` with `by_ms`), whoever sends them and whenever. An
announcement that an observer's own monotonic clock has seen unchanged for `STALE_S`, which is `SLACK_S` more, holds
nobody up: the writer takes it away, and puts the blob once more, as after any batch that has ended.

What is assumed: that a delete which the store has accepted in time is carried out, and the clocks of a store's nodes
differ and are set back, by less than `SLACK_S` all together. No clock of a client matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from serving.errors import Conflict, NotFound, Unavailable
from serving.store.base import Store
from serving.store.keys import SWEEP

BATCH_S = 15.0
"""No delete of a batch is accepted later than this after its announcement."""
SLACK_S = 45.0
"""What a store's clocks may be apart, and what a delete that was accepted may last."""
STALE_S = BATCH_S + SLACK_S
"""An announcement that has not changed for so long is a dead collector's."""
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
        if await _stale(store, found):
            with contextlib.suppress(Conflict, NotFound):  # so that nobody waits for the dead one again
                await store.swap(SWEEP, _encode(()), found.version)
        return False
    return await _exists(store, key)


@contextlib.asynccontextmanager
async def announced(store: Store, keys: Sequence[str]) -> AsyncIterator[int]:
    """Announce `keys` while the block runs. One batch at a time: waits for that of another collector.

    Yields the end of the batch, in milliseconds of the store's own clock: every delete is given it as `by_ms`. When
    the block fails, the announcement stays until it is stale: a delete may still be on its way.
    """
    version = await _announce(store, keys)
    yield await _written_ms(store, version) + round(BATCH_S * 1000)
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


async def _written_ms(store: Store, version: str) -> int:
    """When our announcement was written, however late we ask. Raises `Unavailable` when it is ours no more."""
    entry = await store.stat(SWEEP)
    # In this order: what is ours now was ours a moment ago, when its time was told.
    if entry is None or entry.modified_ms is None or (await store.get(SWEEP)).version != version:
        raise Unavailable(f"the store {store.url} is too slow to collect from now", retry_after_s=60)
    return entry.modified_ms


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
