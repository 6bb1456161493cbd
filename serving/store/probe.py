"""The start-up probe: a store shows with real races that it keeps its promises, or is refused.

Compare-and-swap has been broken in several S3-compatible stores: many writers won at once, or a condition on a missing
key was ignored. Nothing durable can be built on such a store, so it is better not to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from serving.errors import Conflict, LongtakeError, NotFound, StoreUnfit, Unavailable
from serving.store import keys
from serving.store.base import Store

RACERS = 32


async def probe(store: Store) -> None:
    """Race for a create and for a swap, check ranges, lists, a late delete. Raises `StoreUnfit` naming what failed."""
    mine = secrets.token_hex(8)
    race, other = keys.probe(mine, "race"), keys.probe(mine, "other")
    try:
        await _create_race(store, race)
        await _swap_race(store, race)
        await _missing(store, keys.probe(mine, "missing"))
        await _ranges_and_lists(store, mine)
        await _late_delete(store, other)
    except StoreUnfit:
        raise
    except LongtakeError as error:
        raise StoreUnfit(f"store {store.url}: {error.message}") from error
    finally:
        for key in (race, other):
            await store.delete(key)


async def _create_race(store: Store, key: str) -> None:
    bodies = [f"{i}-{secrets.token_hex(8)}".encode() for i in range(RACERS)]
    won = await asyncio.gather(*(store.put_if_absent(key, body) for body in bodies))
    if sum(won) != 1:
        raise StoreUnfit(f"store {store.url}: {sum(won)} of {RACERS} writers created the same object; one must win")
    if (await store.get(key)).data != bodies[won.index(True)]:
        raise StoreUnfit(f"store {store.url}: an object holds other bytes than its creator wrote")


async def _swap_race(store: Store, key: str) -> None:
    version = (await store.get(key)).version

    async def attempt(body: bytes) -> bool | None:
        """None: no answer came, and others wrote since; whether it had won cannot be told."""
        try:
            await store.swap(key, body, version)
        except Conflict:
            return False
        except Unavailable:
            return None
        return True

    bodies = [f"{i}-{secrets.token_hex(8)}".encode() for i in range(RACERS)]
    won = await asyncio.gather(*(attempt(body) for body in bodies))
    winners = [body for body, answer in zip(bodies, won, strict=True) if answer]
    unknown = [body for body, answer in zip(bodies, won, strict=True) if answer is None]
    written = (await store.get(key)).data
    if len(winners) > 1 or (not winners and not unknown):
        raise StoreUnfit(f"store {store.url}: {len(winners)} of {RACERS} writers won the same swap; one must win")
    if written not in (winners or unknown):
        raise StoreUnfit(f"store {store.url}: an object holds other bytes than the swap's winner wrote")


async def _ranges_and_lists(store: Store, mine: str) -> None:
    race, other = keys.probe(mine, "race"), keys.probe(mine, "other")
    await store.put_if_absent(other, b"0123456789")
    if await store.get_range(other, 3, 4) != b"3456":
        raise StoreUnfit(f"store {store.url}: a range read returned other bytes")
    if [entry.key async for entry in store.list(keys.probes_of(mine))] != [other, race]:
        raise StoreUnfit(f"store {store.url}: a list does not show what was written, in order")


async def _late_delete(store: Store, key: str) -> None:
    """Of `key`, which is there."""
    written = await store.stat(key)
    if written is None or written.modified_ms is None:  # such a store is never collected
        return
    with contextlib.suppress(Unavailable):
        await store.delete(key, by_ms=written.modified_ms - 5000)
    if await store.stat(key) is None:
        raise StoreUnfit(f"store {store.url}: a delete was done after its signature had run out")


async def _missing(store: Store, key: str) -> None:
    try:
        await store.swap(key, b"x", "0" * 64)
    except (NotFound, Conflict):
        return
    await store.delete(key)
    raise StoreUnfit(f"store {store.url}: a conditional write to a missing object succeeded")
