"""The Director's epoch: a number in the store that fences an old Director from a new one.

A Director takes the next epoch at its start. Every record that it writes carries the number, and it checks before each
write that the number is still the newest: an old Director stops at its next write.
"""

from __future__ import annotations

import json
import secrets

from serving.errors import Conflict, LongtakeError, NotFound
from serving.store.base import Store

KEY = "runtime/epoch"


class EpochLost(LongtakeError):
    """A newer Director has started; this one must stop."""

    reason = "EPOCH_LOST"


class Epoch:
    """One Director's term."""

    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self.number = number

    async def check(self) -> None:
        """Raises `EpochLost` when a newer Director has taken over."""
        current = await newest_epoch(self._store)
        if current != self.number:
            raise EpochLost(f"this Director has epoch {self.number}, and {current} has started since")


async def newest_epoch(store: Store) -> int:
    """The epoch of the newest Director; 0 where none ever started."""
    try:
        return _number((await store.get(KEY)).data)
    except NotFound:
        return 0


async def take_epoch(store: Store) -> Epoch:
    """Start the next epoch."""
    await store.put_if_absent(KEY, _record(0))
    while True:
        try:
            found = await store.get(KEY)
            number = _number(found.data) + 1
            await store.swap(KEY, _record(number), found.version)
        except (Conflict, NotFound):
            continue
        return Epoch(store, number)


def _record(number: int) -> bytes:
    return json.dumps({"epoch": number, "nonce": secrets.token_hex(8)}).encode()


def _number(data: bytes) -> int:
    number: int = json.loads(data)["epoch"]
    return number
