"""When it is time to collect, and whose turn it is: one collection at a time in an installation, every half hour.

    runtime/collector   {"nonce", "ended_ms", "working"}      swapped

Collectors hand the record on to each other, so what a later version's wrote in it stays.

Whoever collects changes the nonce every few seconds. One that stands still by an observer's own monotonic clock is a
dead one's, and another takes its turn. Should two collect at once all the same, that costs time and does no harm
(`collect.py`). A collection is due when the last one ended `EVERY_S` ago, however short the lives of those who look.
`__main__.py` asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from serving.errors import Conflict, LongtakeError
from serving.store.base import Store
from serving.store.keys import COLLECTOR

EVERY_S = 1800.0
"""Between the end of a collection and the next."""
LOOK_EVERY_S = 60.0
BEAT_S = 10.0
SILENT = 6
"""Looks in a row, `BEAT_S` apart, that find the nonce unchanged: whoever collected is dead."""


@dataclass(frozen=True)
class _Turn:
    nonce: str
    ended_ms: int
    working: bool
    fields: dict[str, Any]
    """All of the record."""
    version: str

    def followed_by(self, *, working: bool, ended_ms: int | None = None) -> bytes:
        """The record after this one; `ended_ms`: of the collection that has just ended."""
        ended_ms = self.ended_ms if ended_ms is None else ended_ms
        return _encode({**self.fields, "ended_ms": ended_ms, "working": working})


class Turns:
    """Of one process."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms

    @contextlib.asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        """Wait until a collection is due and nobody collects. The block collects; if it raises, it does not count."""
        version = await self._take()
        beating = asyncio.create_task(self._beat())
        ended_ms = None
        try:
            yield
            ended_ms = self._now_ms()
        finally:
            beating.cancel()
            await asyncio.wait({beating})
            with contextlib.suppress(LongtakeError):  # then it is found silent
                await self._give_back(version, ended_ms)

    async def _take(self) -> _Turn:
        await self._store.put_if_absent(COLLECTOR, _encode({"ended_ms": 0, "working": False}))
        while True:
            found = await self._read()
            wait_s = self._due_in_s(found)
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, LOOK_EVERY_S))
            elif not found.working or await self._silent(found):
                with contextlib.suppress(Conflict):
                    await self._store.swap(COLLECTOR, found.followed_by(working=True), found.version)
                    return found

    def _due_in_s(self, found: _Turn) -> float:
        since_s = (self._now_ms() - found.ended_ms) / 1000
        return EVERY_S - since_s if since_s >= 0 else 0  # it ended in the future: some clock was wrong

    async def _silent(self, found: _Turn) -> bool:
        for _ in range(SILENT):
            await asyncio.sleep(BEAT_S)
            if (await self._read()).nonce != found.nonce:
                return False
        return True

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(LongtakeError):
                found = await self._read()
                await self._store.swap(COLLECTOR, found.followed_by(working=True), found.version)

    async def _give_back(self, before: _Turn, ended_ms: int | None) -> None:
        found = await self._read()
        ended_ms = before.ended_ms if ended_ms is None else ended_ms
        await self._store.swap(COLLECTOR, found.followed_by(working=False, ended_ms=ended_ms), found.version)

    async def _read(self) -> _Turn:
        stored = await self._store.get(COLLECTOR)
        fields = json.loads(stored.data)
        return _Turn(fields["nonce"], fields["ended_ms"], fields["working"], fields, stored.version)


def _encode(fields: dict[str, Any]) -> bytes:
    return json.dumps({**fields, "nonce": secrets.token_hex(8)}).encode()
