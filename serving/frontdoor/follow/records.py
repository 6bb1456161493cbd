"""What a front door remembers of job records, so that a poll need not read the store.

`director_link.py` feeds it what the Director writes; whoever shows or reads a job asks it. A record is answered from
memory when it is terminal (looked at again every 30 s, for another front door may delete it), or while the Director's
Watch stream vouched within the last second that nothing was missed. Everything else is one read of the store.

A read or a write takes a while, and its record may be an old one before it is here. If the stream tells of the newer
one meanwhile, that one stays. If something may have been missed meanwhile (`misses`), nobody vouches for the record: it
is an answer for once, and the next poll reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from serving.errors import NotFound, shown
from serving.frontdoor.follow.recent import Recent
from serving.frontdoor.follow.views import Kept, LiveProgress, View, age_of, kept, view_of
from serving.frontdoor.follow.waiting import LOOK_S, Waiting
from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord, JobState
from serving.jobs.repository import Jobs
from serving.metrics import RECORD_READS, Recorder

VOUCHED_S = 1.0
SILENT_S = 5.0
"""A Director that vouches for nothing for so long is away; a stream that ends is opened again in less."""
TERMINAL_RECHECK_S = 30.0
MOST_BYTES = 64 * 1024 * 1024
"""Of records and answers: about 20,000 jobs that wait, or 6,000 videos of 15 segments."""


class RecordCache:
    """Memory of records, bounded in bytes; the newest version wins. All methods run on the event loop."""

    def __init__(self, *, clock: Callable[[], float], most_bytes: int = MOST_BYTES) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._kept: Recent[JobKey, Kept] = Recent(most_bytes)
        self._vouched_at = float("-inf")
        self._heard_at = clock()
        """When the Director last vouched, whatever was forgotten since; first, when this was made."""
        self._whys: Mapping[JobKey, str] = {}
        self._held: Collection[JobKey] = ()
        self._away: Collection[str] = ()
        self._waiting: dict[JobKey, set[asyncio.Future[None]]] = {}
        self.misses = 0
        """How often something may have been missed. To be taken before a record is read or written, for `remember`."""

    @property
    def vouched(self) -> bool:
        """Whether the Director vouches for what is here."""
        return self._clock() - self._vouched_at <= VOUCHED_S

    def vouch(self) -> None:
        """Nothing was missed until now."""
        self._vouched_at = self._heard_at = self._clock()

    def ranked(self, whys: Mapping[JobKey, str], held: Collection[JobKey] = (), away: Collection[str] = ()) -> None:
        """Why jobs have their places in the queue; of all others it is not known any more.

        `held`: those that wait for a stage that is away; `away`: models of which one is, and all jobs of theirs of
        which nothing is said wait too.
        """
        self._whys, self._held, self._away = whys, held, away

    def why(self, key: JobKey) -> str:
        """Why a job has its place in the queue; empty if the Director does not say."""
        return self._whys.get(key, "") if self.vouched else ""

    def silence(self) -> str:
        """That no Director answers, in words; empty where one did of late."""
        silent = self._clock() - self._heard_at > SILENT_S
        return "no Director answers: it goes on when one does" if silent else ""

    def held_up(self, key: JobKey, model: str) -> bool:
        """Whether the Director says that a job of this model waits for a stage that is away."""
        return self.vouched and (key in self._held or (model in self._away and key not in self._whys))

    def model_of(self, key: JobKey) -> str:
        """The model that a job waits for; empty where its record is not here."""
        known = self._kept.peek(key)
        return "" if known is None else known.model

    def lookup(self, key: JobKey, *, within_s: float = 0.0) -> View | None:
        """The view, if it can be answered from memory now, or was true `within_s` seconds ago."""
        known = self._kept.get(key)
        if known is None or known.outdated:
            return None
        if known.state.terminal:
            return view_of(known) if self._clock() - known.checked <= TERMINAL_RECHECK_S else None
        lately = within_s > 0 and self._clock() - known.checked <= within_s
        return view_of(known) if self.vouched or lately else None

    def remember(self, record: JobRecord, misses: int) -> View:
        """Put in a record that was read or written; the newest version's view. `misses`: as it was before that."""
        view = self.put(record)
        if misses != self.misses and not view.state.terminal:
            view.kept.outdated = True
        return view

    def put(self, record: JobRecord) -> View:
        """Put in a record that the Director tells, or a final one; the newest version's view."""
        known = self._kept.get(record.key)
        if known is not None and known.age > age_of(record):
            return view_of(known)
        if known is not None and known.age == age_of(record) and not known.outdated:
            known.checked = self._clock()
            return view_of(known, record)
        goes_on = known is not None and known.attempt == record.attempt and not known.outdated
        fresh = kept(record, checked=self._clock(), progress=known.progress if known and goes_on else None)
        self._replace(fresh)
        return view_of(fresh, record)

    def advance(self, key: JobKey, version: int, progress: LiveProgress) -> None:
        """A step was counted. A record that is older than `version` is forgotten."""
        known = self._kept.get(key)
        if known is None:
            return
        if known.age[1] < version:
            self.missed(key)
        elif known.age[1] == version and known.progress != progress:
            self._replace(replace(known, progress=progress, answers={}, shown=None))

    def answered(self, view: View, surface: str, minute: int, answer: bytes) -> None:
        """Remember what a surface made of a view, as long as it is the newest one."""
        if self._kept.get(view.kept.key) is view.kept:
            view.kept.answers[surface] = (minute, answer)
            self._keep(view.kept)

    def drop(self, key: JobKey) -> None:
        """Forget one record; whoever waits for it reads it again."""
        self._kept.drop(key)
        self._wake(key)

    def missed(self, key: JobKey) -> None:
        """There is a newer version of one record, which did not come with the news: forget the one that is here."""
        self.misses += 1
        self.drop(key)

    def forget_running(self) -> None:
        """Something may have been missed: believe nothing that is not final. What is older still is known for that."""
        self.misses += 1
        self._vouched_at = float("-inf")
        self._whys, self._held, self._away = {}, (), ()
        for key, known in self._kept.items():
            if not known.state.terminal:
                known.outdated = True
                self._wake(key)

    async def changed(self, seen: View, timeout_s: float) -> None:
        """Wait until there is another view than `seen`, at most `timeout_s`."""
        key = seen.kept.key
        known = self._kept.get(key)
        if known is not None and known is not seen.kept:
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

    def _replace(self, fresh: Kept) -> None:
        self._keep(fresh)
        self._wake(fresh.key)

    def _keep(self, known: Kept) -> None:
        self._kept.put(known.key, known, known.size)

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
        self._readings: dict[JobKey, asyncio.Task[View]] = {}
        self._waiting = Waiting(self._looked)

    async def view(self, tenant: str, job: str) -> View:
        """A job as it stands. Raises `NotFound` for unknown and deleted ones, and for another tenant's."""
        view = self._cache.lookup((tenant, job))
        if view is None:
            view = await self._read(tenant, job)
        else:
            self._metrics.add(RECORD_READS, source="memory")
        return _present(view)

    async def lately(self, tenant: str, job: str) -> View:
        """A job as it stood half a second ago or later, for those who then wait: however many they are, one of them
        reads. Raises `NotFound`.
        """
        key = (tenant, job)
        view = self._cache.lookup(key, within_s=LOOK_S)
        if view is None:
            reading = self._readings.get(key)
            if reading is None:
                reading = self._readings[key] = asyncio.create_task(self._read(tenant, job))
                reading.add_done_callback(lambda done: self._has_read(key, done))
            view = await asyncio.shield(reading)
        return _present(view)

    def _has_read(self, key: JobKey, done: asyncio.Task[View]) -> None:
        self._readings.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; where nobody waits any more, nobody misses it

    @property
    def misses(self) -> int:
        """As of `RecordCache`: to be taken before a record is read or written, for `remember`."""
        return self._cache.misses

    def remember(self, record: JobRecord, misses: int) -> View:
        """A job whose record was read or written, as it stands. Raises `NotFound` if it was deleted since."""
        return _present(self._cache.remember(record, misses))

    async def after(self, view: View) -> View:
        """The job when it is not as in `view` any more. Raises `NotFound` when it was deleted."""
        return await self._waiting.after(view)

    async def _looked(self, seen: View, within_s: float) -> View:
        await self._cache.changed(seen, within_s)
        return await self.lately(*seen.kept.key)

    async def _read(self, tenant: str, job: str) -> View:
        self._metrics.add(RECORD_READS, source="store")
        misses = self._cache.misses
        try:
            return self._cache.remember(await self._jobs.get(tenant, job), misses)
        except NotFound:
            self._cache.drop((tenant, job))
            raise


def _present(view: View) -> View:
    if view.state is JobState.DELETED:
        raise NotFound(f"no video {shown(view.record.id)}", reason="VIDEO_NOT_FOUND")
    return view
