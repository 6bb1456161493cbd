"""What one object needs, remembered between collections, so that what has not changed is not read again.

What is remembered goes by names that stand for bytes that cannot change: a manifest or page by its digest, a record by
its key, size and age (`mark.py` says when that is sure). A run of them is one object, `t/<tenant>/marks/<digest>`,
checked against its digest when it is read; one that is lost or damaged costs reading again and nothing else. A
collection adds a run of what it learned. Many small runs become one; a run is written anew when half of what it holds
was not met again.

    LONGTAKE MARKS 1 | count | names, sorted | where each begins | what it reaches …
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.errors import NotFound
from serving.store import keys
from serving.store.base import Store

NAME_BYTES = 33
"""Of a name: one byte for its kind, and a SHA-256."""
MOST_RUNS = 8
"""That are not full."""
MOST_ENTRIES = 200_000
"""Of a full run: some 25 MB."""
_MAGIC = b"LONGTAKE MARKS 1"
"""Its number grows with every change of what `references.py` finds: what was learned before is then forgotten."""
_BEGIN_BYTES = 8
_HEAD = struct.Struct("<16sQ")
_ENTRY = struct.Struct("<qqII")


@dataclass(frozen=True)
class Reach:
    """What one object needs."""

    needs: bytes
    """Ids of keys (`key_set.py`), one behind the other."""
    leads_to: tuple[bytes, ...] = ()
    """Names of what has needs of its own."""
    finished_ms: int = 0
    """Of a job: from here on the settings' time to live counts."""
    expires_ms: int = 0
    """Its own end; 0: none."""

    def encode(self) -> bytes:
        """As it lies in a run."""
        head = _ENTRY.pack(self.finished_ms, self.expires_ms, len(self.needs), len(self.leads_to))
        return head + self.needs + b"".join(self.leads_to)

    @classmethod
    def decode(cls, data: bytes, at: int) -> Reach:
        """From a run."""
        finished, expires, needs, leads_to = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        begin = at + needs
        names = (data[begin + i * NAME_BYTES : begin + (i + 1) * NAME_BYTES] for i in range(leads_to))
        return cls(data[at:begin], tuple(names), finished, expires)


class _Run:
    """One object of the cache."""

    def __init__(self, key: str, data: bytes, *, met: bool = False) -> None:
        _, self.count = _HEAD.unpack_from(data)
        self.key = key
        self.met = bytearray([met]) * self.count
        """1 for what was asked for."""
        self.data = data
        places = _HEAD.size + self.count * NAME_BYTES
        self._places = array("Q", data[places : places + 8 * self.count])
        names = range(_HEAD.size, places, NAME_BYTES)
        self._begins = array("Q", (int.from_bytes(data[at : at + _BEGIN_BYTES], "big") for at in names))
        """Of all names, as numbers: a question is one search among these, and every run is asked."""

    def name(self, number: int) -> bytes:
        at = _HEAD.size + number * NAME_BYTES
        return self.data[at : at + NAME_BYTES]

    def find(self, name: bytes) -> int | None:
        begin = int.from_bytes(name[:_BEGIN_BYTES], "big")
        at = bisect_left(self._begins, begin)
        while at < self.count and self._begins[at] == begin:
            if self.name(at) == name:
                return at
            at += 1
        return None

    def reach(self, number: int) -> Reach:
        return Reach.decode(self.data, self._places[number])


class Known:
    """One tenant's, in one collection."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._runs: list[_Run] = []
        self._useless: list[str] = []
        self._learned: dict[bytes, Reach] = {}
        self._sealed: list[_Run] = []
        """Of what was learned, as much as fills a run."""
        self._unwritten: list[_Run] = []
        """Of these, what is not in the store yet."""

    async def load(self) -> None:
        """Read what earlier collections learned."""
        async for entry in self._store.list(keys.marks_of(self._tenant)):
            if not keys.is_ours(entry.key):
                continue
            try:
                data = (await self._store.get(entry.key)).data
            except NotFound:  # another collector has joined it with others
                continue
            if data.startswith(_MAGIC) and hashlib.sha256(data).hexdigest() == keys.name_of(entry.key):
                self._runs.append(_Run(entry.key, data))
            else:
                self._useless.append(entry.key)

    def get(self, name: bytes) -> Reach | None:
        """What is known of it."""
        return self.meet(name)[0]

    def meet(self, name: bytes) -> tuple[Reach | None, bool]:
        """What is known of it, and whether this collection has met it before."""
        for run in (*self._runs, *self._sealed):
            number = run.find(name)
            if number is not None:
                before, run.met[number] = run.met[number], 1
                return run.reach(number), bool(before)
        return self._learned.get(name), name in self._learned

    def learn(self, name: bytes, reach: Reach) -> None:
        """Remember it."""
        self._learned[name] = reach
        if len(self._learned) == MOST_ENTRIES:  # a run takes a third of the memory
            data = _encode(self._learned)
            self._sealed.append(_Run(self._key(data), data, met=True))
            self._unwritten.append(self._sealed[-1])
            self._learned = {}

    async def keep(self) -> None:
        """Write the runs that are full, so that a collection that comes to no end need not begin anew. What they say is
        true by its names alone, whatever became of the collection."""
        runs, self._unwritten = self._unwritten, []
        for run in runs:
            await self._store.put_if_absent(run.key, run.data)

    async def save(self) -> None:
        """Write what was learned, after a collection that met all that there is."""
        for key in self._useless:
            await self._store.delete(key)
        small = [run for run in self._runs if run.count < MOST_ENTRIES]
        joined = [
            run
            for run in self._runs
            if 2 * sum(run.met) < run.count or (run.count < MOST_ENTRIES and len(small) >= MOST_RUNS)
        ]
        await self.keep()
        written = {await self._put(run) for run in _batches(self._entries(joined))}
        for run in joined:
            if run.key not in written:
                await self._store.delete(run.key)

    def _entries(self, joined: Sequence[_Run]) -> Iterator[tuple[bytes, Reach]]:
        """What was learned now, and what these runs hold that was met again."""
        yield from self._learned.items()
        for run in joined:
            for number in range(run.count):
                if run.met[number]:
                    yield run.name(number), run.reach(number)

    async def _put(self, entries: Mapping[bytes, Reach]) -> str:
        data = _encode(entries)
        key = self._key(data)
        await self._store.put_if_absent(key, data)
        return key

    def _key(self, data: bytes) -> str:
        return keys.mark(self._tenant, hashlib.sha256(data).hexdigest())


def _batches(entries: Iterator[tuple[bytes, Reach]]) -> Iterator[dict[bytes, Reach]]:
    batch: dict[bytes, Reach] = {}
    for name, reach in entries:
        batch[name] = reach
        if len(batch) == MOST_ENTRIES:
            yield batch
            batch = {}
    if batch:
        yield batch


def _encode(entries: Mapping[bytes, Reach]) -> bytes:
    names = sorted(entries)
    at = _HEAD.size + len(names) * (NAME_BYTES + 8)
    places, reaches = array("Q"), []
    for name in names:
        places.append(at)
        reaches.append(entries[name].encode())
        at += len(reaches[-1])
    return b"".join((_HEAD.pack(_MAGIC, len(names)), *names, places.tobytes(), *reaches))
