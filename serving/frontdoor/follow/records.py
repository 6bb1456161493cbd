"""What a front door remembers of job records, so that a poll need not read the store.

`director_link.py` feeds it what the Director writes; whoever shows or reads a job asks it. A record is answered from
memory when it is terminal (looked at again every 30 s, for another front door may delete it), or while the Director's
Watch stream vouched within the last second that nothing was missed. Everything else is one read of the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serving.errors import NotFound
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import RECORD_READS, Recorder

VOUCHED_S = 1.0
TERMINAL_RECHECK_S = 30.0
MOST_RECORDS = 20_000


@dataclass(frozen=True)
class LiveProgress:
    """How far a running job is beyond its record."""

    stage: str
    steps_done: int
    """Over the whole job."""
    segment_index: int


@dataclass(frozen=True)
class View:
    """A job as it stands. A change makes a new view, so whatever is kept in `rendered` is true as long as the
    view is.
    """

    record: JobRecord
    progress: LiveProgress | None = None
    rendered: dict[str, tuple[int, bytes]] = field(default_factory=dict, compare=False)
    """Serialised answers by surface, each with the minute of its URLs."""


class RecordCache:
    """Bounded memory of views, newest version wins. All methods run on the event loop."""

    def __init__(self, *, clock: Callable[[], float], most: int = MOST_RECORDS) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._most = most
        self._views: OrderedDict[JobKey, View] = OrderedDict()
        self._checked: dict[JobKey, float] = {}
        self._vouched_at = float("-inf")
        self._whys: Mapping[JobKey, str] = {}
        self._waiting: dict[JobKey, set[asyncio.Future[None]]] = {}

    @property
    def vouched(self) -> bool:
        """Whether the Director vouches for what is here."""
        return self._clock() - self._vouched_at <= VOUCHED_S

    def vouch(self) -> None:
        """Nothing was missed until now."""
        self._vouched_at = self._clock()

    def ranked(self, whys: Mapping[JobKey, str]) -> None:
        """Why jobs have their places in the queue; of all others it is not known any more."""
        self._whys = whys

    def why(self, key: JobKey) -> str:
        """Why a job has its place in the queue; empty if the Director does not say."""
        return self._whys.get(key, "") if self.vouched else ""

    def lookup(self, key: JobKey) -> View | None:
        """The view, if it can be answered from memory now."""
        view = self._views.get(key)
        if view is None:
            return None
        if view.record.state.terminal:
            return view if self._clock() - self._checked[key] <= TERMINAL_RECHECK_S else None
        return view if self.vouched else None

    def put(self, record: JobRecord) -> View:
        """Remember a record that was read or written; the newest version's view."""
        key = (record.tenant, record.id)
        known = self._views.get(key)
        self._checked[key] = self._clock()
        if known is not None and _age(known.record) >= _age(record):
            self._views.move_to_end(key)
            return known
        same_attempt = known is not None and known.record.attempt == record.attempt
        return self._replace(key, View(record, known.progress if known and same_attempt else None))

    def advance(self, key: JobKey, version: int, progress: LiveProgress) -> None:
        """A step was counted. A record that is older than `version` is forgotten."""
        known = self._views.get(key)
        if known is None:
            return
        if known.record.version < version:
            self.drop(key)
        elif known.record.version == version and known.progress != progress:
            self._replace(key, View(known.record, progress))

    def drop(self, key: JobKey) -> None:
        """Forget one record; whoever waits for it reads it again."""
        self._views.pop(key, None)
        self._checked.pop(key, None)
        self._wake(key)

    def forget_running(self) -> None:
        """Something may have been missed: forget all that is not final."""
        self._vouched_at = float("-inf")
        self._whys = {}
        for key in [key for key, view in self._views.items() if not view.record.state.terminal]:
            self.drop(key)

    async def changed(self, key: JobKey, seen: View, timeout_s: float) -> None:
        """Wait until there is another view than `seen`, at most `timeout_s`."""
        if self._views.get(key, seen) is not seen:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await waiter
        finally:
            waiters = self._waiting.get(key, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(key, None)

    def _replace(self, key: JobKey, view: View) -> View:
        self._views[key] = view
        self._views.move_to_end(key)
        self._checked.setdefault(key, self._clock())
        while len(self._views) > self._most:
            oldest, _ = self._views.popitem(last=False)
            self._checked.pop(oldest, None)
        self._wake(key)
        return view

    def _wake(self, key: JobKey) -> None:
        for waiter in self._waiting.get(key, ()):
            if not waiter.done():
                waiter.set_result(None)


class Records:
    """Job records, from memory or from the store."""

    def __init__(self, jobs: Jobs, cache: RecordCache, metrics: Recorder) -> None:
        self._jobs = jobs
        self._cache = cache
        self._metrics = metrics

    async def view(self, tenant: str, job: str) -> View:
        """A job as it stands. Raises `NotFound` for unknown and deleted ones, and for another tenant's."""
        view = self._cache.lookup((tenant, job))
        if view is None:
            view = await self._read(tenant, job)
        else:
            self._metrics.add(RECORD_READS, source="memory")
        return _present(view)

    def remember(self, record: JobRecord) -> View:
        """A job whose record was just read or written, as it stands. Raises `NotFound` if it was deleted since."""
        return _present(self._cache.put(record))

    async def changed(self, view: View, timeout_s: float) -> None:
        """Wait until `view` may be out of date, at most `timeout_s`."""
        await self._cache.changed((view.record.tenant, view.record.id), view, timeout_s)

    async def _read(self, tenant: str, job: str) -> View:
        self._metrics.add(RECORD_READS, source="store")
        try:
            return self._cache.put(await self._jobs.get(tenant, job))
        except NotFound:
            self._cache.drop((tenant, job))
            raise


def _age(record: JobRecord) -> tuple[int, int]:
    """Newer records have greater ones. An idempotency key that is used again, long after its job was deleted, makes
    another job under the same id, whose versions begin anew.
    """
    return record.created_ms, record.version


def _present(view: View) -> View:
    if view.record.state is JobState.DELETED:
        raise NotFound(f"no video {view.record.id!r}", reason="VIDEO_NOT_FOUND")
    return view
