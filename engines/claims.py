"""Whose turn it is to build a set of engines: several builders of one do the work once.

    engines/<model>/<weights digest>/building    {"nonce", "holder", "doing", "working"}    swapped

The longest part of a build is compiling, which may take an hour of a GPU. So the first builder claims the set, and
changes the nonce every few seconds; the others wait, and take what it published. A nonce that stands still by an
observer's own monotonic clock is a dead builder's, and another takes its turn (as `serving/jobs/lease.py` has it: no
two clocks are compared). Nothing is fenced by a claim: publishing is put-if-absent, so two that build at once all the
same lose time and do no harm. The CLI asks.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from engines import objects as layout
from engines.objects import Objects

BEAT_S: Final = 5.0
RECORD_BYTES: Final = 16 << 10
SILENT_S: Final = 60.0
"""A claim that was seen unchanged for so long is a dead builder's. A compiler may keep a process from its beats for a
while."""


@dataclass
class Claim:
    """A builder's turn. `doing` is shown to those who wait."""

    holder: str
    doing: str = "starting"


@dataclass(frozen=True)
class Waiting:
    """Why a builder has to wait."""

    holder: str
    doing: str


@dataclass(frozen=True)
class _Record:
    """A claim as it lies there. What is none is nobody's."""

    nonce: str = ""
    term: str = ""
    """Of one turn of one builder."""
    holder: str = ""
    doing: str = ""
    working: bool = False


class Claims:
    """Of the sets in one object store."""

    def __init__(
        self, objects: Objects, *, beat_s: float = BEAT_S, silent_s: float = SILENT_S, holder: str | None = None
    ) -> None:
        """`holder` names this builder to those who wait; default: machine and process."""
        self._objects = objects
        self._beat_s = beat_s
        self._silent_s = silent_s
        self._holder = holder or f"{platform.node()}, process {os.getpid()}"

    @asynccontextmanager
    async def turn(self, model: str, set_name: str, waiting: Callable[[Waiting], None]) -> AsyncIterator[Claim]:
        """Wait until nobody else builds this set; then it is ours while the block runs. `waiting` is called with each
        look at another's. Look in the block whether there is anything left to build."""
        key, claim = layout.claim_key(model, set_name), Claim(self._holder)
        term = await self._take(key, claim, waiting)
        beating = asyncio.create_task(self._beat(key, claim, term))
        try:
            yield claim
        finally:
            beating.cancel()
            await asyncio.wait({beating})
            # A store that is away now is told nothing, and whoever comes next waits until the claim is silent.
            await asyncio.gather(self._change(key, claim, term, working=False), return_exceptions=True)

    async def _take(self, key: str, claim: Claim, waiting: Callable[[Waiting], None]) -> str:
        """The term: as long as it stands in the record, the claim is ours."""
        term = secrets.token_hex(8)
        ours = _encode(claim, term, working=True)
        now = asyncio.get_running_loop().time
        seen, since = "", now()
        while not await self._objects.put_if_absent(key, ours):
            found = await self._objects.get(key, limit=RECORD_BYTES)
            if found is None:
                continue
            record = _read(found.data)
            if record.nonce != seen:
                seen, since = record.nonce, now()
            if not record.working or now() - since >= self._silent_s:
                if await self._objects.replace(key, ours, found.version):
                    break
                continue
            waiting(Waiting(record.holder, record.doing))
            await asyncio.sleep(min(self._beat_s, self._silent_s) / 5)
        return term

    async def _beat(self, key: str, claim: Claim, term: str) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            # A store that is away for a while costs a beat, and at worst the turn.
            await asyncio.gather(self._change(key, claim, term, working=True), return_exceptions=True)

    async def _change(self, key: str, claim: Claim, term: str, *, working: bool) -> None:
        """Nothing happens where another has taken the turn."""
        found = await self._objects.get(key, limit=RECORD_BYTES)
        if found is not None and _read(found.data).term == term:
            await self._objects.replace(key, _encode(claim, term, working=working), found.version)


def _read(data: bytes) -> _Record:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return _Record()
    if not isinstance(said, dict):
        return _Record()
    nonce, term, holder, doing = (_printable(said.get(name, "")) for name in ("nonce", "term", "holder", "doing"))
    return _Record(nonce, term, holder, doing, working=said.get("working") is True)


def _printable(value: object) -> str:
    """It is shown on terminals, and anybody who writes to the store may have said it."""
    return "".join(letter for letter in str(value)[:80] if letter.isprintable())


def _encode(claim: Claim, term: str, *, working: bool) -> bytes:
    record = {"holder": claim.holder, "doing": claim.doing, "term": term, "working": working}
    return json.dumps({**record, "nonce": secrets.token_hex(8)}).encode()
