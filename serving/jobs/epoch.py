"""The Director's epoch: a number in the store that fences an old Director from a new one.

A Director takes the next epoch at its start. Every record that it writes carries the number, and it checks before each
write that the number is still the newest: an old Director stops at its next write, and idles.

The newest one writes a new nonce every few seconds. So one that idles sees when the newest has gone and nobody has
taken its place (of two that start together, the one that is to stay may be the one that loses), and may start again.

A Director of another cluster than the newest's does not take over before its stages are up (`turn`): work that is under
way there would wait for engines that are still being loaded here.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable

from serving.errors import Conflict, LongtakeError, NotFound, StoreUnfit, Unavailable
from serving.store.base import Store
from serving.store.keys import EPOCH

SIGN_EVERY_S = 10.0
SILENT = 6
"""Looks in a row, `SIGN_EVERY_S` apart, that find no new nonce: then nobody works. Looks and not seconds are counted,
for whoever looks may have been stopped itself."""
GATHER_S = 0.02
"""Who asks while the epoch is being read waits for the next read, which begins so much later at the latest."""


class EpochLost(LongtakeError):
    """A newer Director has started; this one must stop."""

    reason = "EPOCH_LOST"


class Epoch:
    """One Director's term."""

    def __init__(self, store: Store, number: int, cluster: str = "") -> None:
        self._store = store
        self.number = number
        self._cluster = cluster
        self._reading: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None
        """A read that has not begun, and that all who ask now wait for."""

    async def check(self) -> None:
        """Raises `EpochLost` when a newer Director has taken over.

        One read answers all who asked before it began: hundreds of writes a second need no read each.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._read(self._reading), name="epoch")
            self._next.add_done_callback(_heard)  # who asked may have been cancelled
        self._compare(await asyncio.shield(self._next))

    async def _read(self, before: asyncio.Task[int] | None) -> int:
        if before is not None and not before.done():
            await asyncio.wait([before], timeout=GATHER_S)
        self._reading, self._next = self._next, None
        return await newest_epoch(self._store)

    async def sign(self) -> None:
        """Show in the store that this Director works. Raises `EpochLost`."""
        found = await self._store.get(EPOCH)
        current = _number(found.data)
        if current == self.number:
            try:
                await self._store.swap(EPOCH, _record(self.number, self._cluster), found.version)
            except Conflict:
                current = await newest_epoch(self._store)
        self._compare(current)

    def _compare(self, newest: int) -> None:
        if newest != self.number:
            raise EpochLost(f"this Director has epoch {self.number}, and {newest} has started since")


async def abandoned(store: Store) -> None:
    """Return when the newest Director has shown for about a minute that it does not work any more."""
    seen, silent = b"", 0
    while silent < SILENT:
        try:
            now = (await store.get(EPOCH)).data
        except (NotFound, Unavailable, StoreUnfit):  # the Director cannot sign either
            now = b""
        silent = silent + 1 if now and now == seen else 0
        seen = now
        await asyncio.sleep(SIGN_EVERY_S)


async def newest_epoch(store: Store) -> int:
    """The epoch of the newest Director; 0 where none ever started."""
    try:
        return _number((await store.get(EPOCH)).data)
    except NotFound:
        return 0


async def turn(store: Store, cluster: str, ready: Callable[[], Awaitable[None]]) -> None:
    """Return when a Director of this cluster may take the epoch: at once where the newest one is this cluster's too, or
    there is none; else when `ready` returns, or the newest one does not work any more.
    """
    try:
        newest = json.loads((await store.get(EPOCH)).data).get("cluster", "")
    except NotFound:
        return
    if newest in ("", cluster):
        return
    waiting = {asyncio.ensure_future(ready()), asyncio.create_task(abandoned(store), name="abandoned")}
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    for task in done:
        task.result()


async def take_epoch(store: Store, cluster: str = "") -> Epoch:
    """Start the next epoch. `cluster` names where its Director runs, for those of others."""
    await store.put_if_absent(EPOCH, _record(0, ""))
    while True:
        try:
            found = await store.get(EPOCH)
            number = _number(found.data) + 1
            await store.swap(EPOCH, _record(number, cluster), found.version)
        except (Conflict, NotFound):
            continue
        return Epoch(store, number, cluster)


def _heard(read: asyncio.Task[int]) -> None:
    if not read.cancelled():
        read.exception()


def _record(number: int, cluster: str) -> bytes:
    return json.dumps({"epoch": number, "nonce": secrets.token_hex(8), "cluster": cluster}).encode()


def _number(data: bytes) -> int:
    number: int = json.loads(data)["epoch"]
    return number
