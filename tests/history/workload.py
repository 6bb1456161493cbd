"""What clients do to a store so that a history says something: few hot keys, fresh and stale versions, lost answers."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from serving.errors import Conflict, NotFound, Unavailable
from tests.history.recorder import History, Recorder, Register

HOT = 6
"""How many keys are in use at a time."""


@dataclass(frozen=True)
class Workload:
    """How much is done, and where."""

    seed: int
    clients: range
    """Their numbers. Several processes take part with ranges that do not overlap."""

    rounds: int
    """Of each client; a round is a create, or a read and mostly a swap: about two operations."""

    keys: Sequence[str]
    """Clients move along them together: few are hot at a time, and creates race to the end."""


async def run(store: Register, work: Workload, history: History) -> None:
    """All clients at once, until each has done its rounds."""
    clients = [_Client(store, work, history, number, word="") for number in work.clients]
    await asyncio.gather(*(client.run(work.rounds) for client in clients))


async def retire(store: Register, work: Workload, history: History) -> None:
    """Every key is deleted as the store's rules say, after a tombstone, while clients read it and swap old versions."""
    owner, *others = (_Client(store, work, history, number, word="late") for number in work.clients)
    for key in work.keys:
        for client in (owner, *others):
            await client.look(key)
        await asyncio.gather(owner.bury(key), *(client.haunt(key, work.rounds) for client in others))


def assert_telling(history: History, *, unknown: bool) -> None:
    """The history has enough of everything to say something."""
    done = Counter(f"{operation.name} {operation.outcome}" for operation in history.operations)
    refused = [] if history.doubts_refusals else ["swap failed", "put_if_absent failed"]
    for what in ("get ok", "swap ok", "put_if_absent ok", *refused, *(["swap unknown"] if unknown else [])):
        assert done[what] >= 5, f"the workload has too few of {what}: {done}"


class _Client:
    """One client. It tries keys at random, and remembers the versions that it was told."""

    def __init__(self, store: Register, work: Workload, history: History, number: int, word: str) -> None:
        self._store = Recorder(store, history, number)
        self._name = f"{word}{number}"
        self._keys = work.keys
        self._random = Random(f"{work.seed}/{self._name}")
        self._told: defaultdict[str, list[str]] = defaultdict(list)
        self._written = 0

    async def run(self, rounds: int) -> None:
        for number in range(rounds):
            first = max(0, len(self._keys) - HOT) * number // rounds
            # What a real caller meets, and answers by reading anew. The recorder has written it down.
            with suppress(Conflict, NotFound, Unavailable, TimeoutError):
                await self._round(self._random.choice(self._keys[first : first + HOT]))

    async def look(self, key: str) -> None:
        """Read, to have a version."""
        with suppress(NotFound, Unavailable, TimeoutError):
            await self._read(key)

    async def bury(self, key: str) -> None:
        """Swap in a tombstone until it is there, and delete it."""
        try:
            while True:
                with suppress(Conflict, Unavailable, TimeoutError):
                    await self._store.swap(key, self._content(), await self._read(key))
                    break
        except NotFound:
            return
        while True:
            with suppress(Unavailable, TimeoutError):
                await self._store.delete(key)
                return

    async def haunt(self, key: str, rounds: int) -> None:
        """Read, and swap the version that was read before the burial: to swap a tombstone is against the rules."""
        before = self._told[key][:1]
        for _ in range(rounds):
            with suppress(Conflict, NotFound, Unavailable, TimeoutError):
                for expected in before:
                    await self._store.swap(key, self._content(), expected)
            await self.look(key)

    async def _round(self, key: str) -> None:
        if self._random.random() < 0.15:
            await self._store.put_if_absent(key, self._content())
            return
        stale = bool(self._told[key]) and self._random.random() < 0.2
        try:
            expected = self._random.choice(self._told[key]) if stale else await self._read(key)
        except NotFound:
            await self._store.put_if_absent(key, self._content())
            return
        if self._random.random() < 0.8:
            self._told[key].append(await self._store.swap(key, self._content(), expected))

    async def _read(self, key: str) -> str:
        version = (await self._store.get(key)).version
        self._told[key].append(version)
        return version

    def _content(self) -> bytes:
        self._written += 1
        return f"{self._name}.{self._written}".encode()
