"""What the Director tells the front doors: everything it writes and every step it counts, in one ring.

A front door keeps a cursor into the ring and opens `Watch` again with it, so it misses nothing while the ring still
holds what came after; `continuous` says whether it did. A message also *vouches*: when one arrives, every record that
this Director wrote has been told. So the Director beats only while it knows that its epoch is still its own
(`upkeep.py`), and a front door that hears no beat reads the store.

Why jobs have their places in the queue is no event: it holds as long as it stands. It is told whole, with a beat, when
it has changed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

from serving.director.queue.order import Why
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord

MOST_BYTES = 32 * 1024 * 1024
"""Of records in the ring, which may all go in one message: a front door takes 64 MiB."""


@dataclass(frozen=True)
class FeedEvent:
    """One event. `record` is the stored JSON when the record was written, else empty; the rest is live progress."""

    tenant: str
    job: str
    version: int
    record: bytes = b""
    stage: str = ""
    steps_done: int = 0
    segment_index: int = 0
    preview: str = ""
    """The digest of the newest picture of that segment, while it is denoised."""


@dataclass(frozen=True)
class Batch:
    """One message of a watch: what happened since the last one, perhaps nothing."""

    epoch: int
    cursor: int
    """Hand it in again to go on from here."""
    continuous: bool
    """False when events between the asked cursor and this batch are gone."""
    events: tuple[FeedEvent, ...]
    whys: Mapping[JobKey, str] | None = None
    """Why jobs have their places in the queue, or do not go on; all that is told of that; None: as it was told last."""
    held: Collection[JobKey] = ()
    """Those of them that wait for a stage that is away."""
    away: Collection[str] = ()
    """Models of which a stage is: all other jobs that wait for these wait for it too."""


class Feed:
    """The ring of one Director's life. Used from one event loop."""

    def __init__(self, epoch: int, capacity: int = 8192) -> None:
        self.epoch = epoch
        self._capacity = capacity
        self._ring: deque[FeedEvent] = deque()
        self._bytes = 0
        """Of records in it."""
        self._told: OrderedDict[JobKey, tuple[int, int]] = OrderedDict()
        """The ages that were told last, of so many jobs: when it was made, and its version."""
        self._cursor = 0
        self._beats = 0
        self._places: Mapping[str, Mapping[JobKey, str]] = {}
        """By model."""
        self._held_up: Mapping[JobKey, str] = {}
        self._away: Mapping[str, str] = {}
        """Stages, by model."""
        self.whys: Mapping[JobKey, str] = {}
        """As they will be told next."""
        self.held: Collection[JobKey] = frozenset()
        """As of `Batch`."""
        self._rankings = 0
        self._closed = False
        self._news = asyncio.Event()

    @property
    def cursor(self) -> int:
        """How many events were told so far."""
        return self._cursor

    def wrote(self, record: JobRecord) -> None:
        """A record was stored, or read. What was told already is not told again, nor what is older: a record that was
        read may have been overtaken by a write that was told before the read had ended."""
        age = (record.created_ms, record.version)
        if self._told.get(record.key, (0, -1)) >= age:
            return
        self._told[record.key] = age
        self._told.move_to_end(record.key)
        if len(self._told) > self._capacity:
            self._told.popitem(last=False)
        self._tell(FeedEvent(record.tenant, record.id, record.version, record.encode(), steps_done=record.steps_done))

    def progress(
        self, record: JobRecord, stage: str, steps_done: int, segment_index: int, *, preview: str = ""
    ) -> None:
        """A running job came further, without a write."""
        self._tell(
            FeedEvent(
                record.tenant,
                record.id,
                record.version,
                stage=stage,
                steps_done=steps_done,
                segment_index=segment_index,
                preview=preview,
            )
        )

    def ranked(self, whys: Mapping[str, Mapping[JobKey, str]]) -> None:
        """The queues of the models were ordered anew. It is told with the next beat, so however often that is, it costs
        little."""
        self._places = whys
        self._explain()

    def held_up(self, jobs: Mapping[JobKey, str], away: Mapping[str, str]) -> None:
        """Why running jobs do not go on, and which stages are away, by model: told as the places in the queue are."""
        if (jobs, away) != (self._held_up, self._away):
            self._held_up, self._away = jobs, away
            self._explain()

    def _explain(self) -> None:
        whys: dict[JobKey, str] = {}
        held: set[JobKey] = set()
        for model, places in self._places.items():
            behind = f"; {self._away[model]}" if model in self._away else ""
            gone = f"its model {model} is not served here"
            for job, why in places.items():
                whys[job] = why if why == Why.RUNNING else gone if why == Why.NOT_SERVED else why + behind
                if why == Why.NOT_SERVED or (behind and why != Why.RUNNING):
                    held.add(job)
        whys.update(self._held_up)
        self.held = held | self._held_up.keys()
        if whys != self.whys:
            self.whys, self._rankings = whys, self._rankings + 1

    def beat(self) -> None:
        """Vouch for all that was told, to every watcher."""
        self._beats += 1
        self._wake()

    def close(self) -> None:
        """End every watch: this Director vouches for nothing any more."""
        self._closed = True
        self._wake()

    async def watch(self, cursor: int, epoch: int, *, seconds: float) -> AsyncIterator[Batch]:
        """Batches from `cursor` on, for `seconds`; a cursor of another epoch or 0 starts at now.

        The first batch comes at once and says whether it continues what the caller knows.
        """
        known = epoch == self.epoch and self._oldest <= cursor <= self._cursor
        at = cursor if known else self._cursor
        continuous = known
        ends = asyncio.get_running_loop().time() + seconds
        first, beats, rankings = True, self._beats, -1
        while not self._closed:
            events = self._after(at)
            if first or events is None or events or self._beats != beats:
                if events is None:
                    rankings = -1  # who missed something has forgotten the reasons too
                whys = None
                if rankings != self._rankings and (first or events is None or self._beats != beats):
                    whys, rankings = self.whys, self._rankings
                beats, first = self._beats, False
                at = self._cursor
                yield Batch(
                    self.epoch, at, continuous and events is not None, events or (), whys, self.held, tuple(self._away)
                )
                continuous = True
                continue
            left = ends - asyncio.get_running_loop().time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                return

    @property
    def _oldest(self) -> int:
        """The smallest cursor from which nothing is missing."""
        return self._cursor - len(self._ring)

    def _after(self, cursor: int) -> tuple[FeedEvent, ...] | None:
        """Events after the cursor; None when some of them are gone."""
        if cursor < self._oldest:
            return None
        count = self._cursor - cursor
        return tuple(self._ring[i] for i in range(len(self._ring) - count, len(self._ring)))

    def _tell(self, event: FeedEvent) -> None:
        self._ring.append(event)
        self._bytes += len(event.record)
        while len(self._ring) > self._capacity or (self._bytes > MOST_BYTES and len(self._ring) > 1):
            self._bytes -= len(self._ring.popleft().record)
        self._cursor += 1
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
