"""Which and how many jobs wait or run, and about how many seconds of work they are, by tenant and urgency.

`gate.py` tells it what was accepted, `forecast.py` and `surfaces/longtake/jobs.py` ask. Keys of `active/` lie by shard
and not by tenant, so one listing serves all tenants and all who ask. The store is listed now and then; in between this
front door adds what it accepted, and what it is about to accept. Other front doors' creates are seen at the next
listing, so a bound may be overrun by what they accept in one interval. A key that a create left behind which never
wrote its record does not count for long (`lost.py`).

A listing costs no reads of records: keys name tenant, priority and deadline, and not the work. So the work of a job is
taken for the mean of what this front door accepted from its tenant lately (newer ones count more), of all tenants if it
accepted none from that one, and of the asker's own job if it accepted none at all. A job that runs counts in full. What
is ahead is an estimate for that reason, and rather too much than too little.

Each model's jobs are in the way of each other alone. Which model a job waits for is not in its key either: it is known
of those whose records are in memory, as the Director told of them or this front door wrote them. All others are counted
for every model.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.frontdoor.admission.lost import LostKeys
from serving.jobs.ids import JobKey
from serving.jobs.record import DEFAULT_PRIORITY
from serving.jobs.repository import Jobs

INTERVAL_S = 5.0
SHARE = 20.0
"""A listing of a long queue is repeated after at least so many times what it took, so that it is not listed all day."""
SMALL = 1000
"""Keys that one call to the store lists: a queue so short is listed whenever somebody asks for names, and every
`INTERVAL_S` for counts."""
_GAIN = 0.1
"""How much a new job moves the mean work of its tenant's jobs."""
ALL = ""
"""Stands for all tenants; none has this name."""


@dataclass(frozen=True)
class _Accepted:
    """A job of this front door."""

    tenant: str
    model: str
    job: str
    priority: int
    deadline_ms: int | None


_Place = tuple[str, str, int]
"""Tenant, model (empty where it is not known) and priority."""


@dataclass
class _Line:
    """Jobs of one place."""

    open: int = 0
    """Those without a deadline."""
    due: array[int] = field(default_factory=lambda: array("q"))
    """Deadlines of the others in ms, ascending: 8 bytes a job."""

    def before(self, deadline_ms: int | None) -> int:
        """Jobs that may go before one with this deadline."""
        return self.open + (len(self.due) if deadline_ms is None else bisect_right(self.due, deadline_ms))


class Backlog:
    """Counts and work by tenant, near enough for bounds and forecasts."""

    def __init__(
        self, jobs: Jobs, *, clock: Callable[[], float], model_of: Callable[[JobKey], str] = lambda _: ""
    ) -> None:
        """`clock` is monotonic, in seconds. `model_of`: the model that a job waits for, empty where it is not known."""
        self._jobs = jobs
        self._clock = clock
        self._model_of = model_of
        self._lost = LostKeys(jobs, clock)
        self._lines: dict[_Place, _Line] = {}
        self._counts: Counter[str] = Counter()
        self._by_model: Counter[tuple[str, str]] = Counter()
        self._coming: Counter[str] = Counter()
        """Jobs that were admitted and are being written."""
        self._mean_s: dict[tuple[str, str], float] = {}
        """By tenant, or for `ALL`, and model."""
        self._due = float("-inf")
        self._named: dict[str, list[str]] = {}
        """Ids by tenant."""
        self._stale_at = float("-inf")
        """When names are listed again, should somebody ask."""
        self._listing = asyncio.Lock()
        """One listing at a time: of two, the one that ends last may be the older."""
        self._meanwhile: list[_Accepted] = []
        """What was accepted while the store is listed: the listing may have passed their keys by already."""

    async def names(self, tenant: str) -> tuple[str, ...]:
        """Ids of a tenant's jobs that are queued or running, in no order; some may have ended.

        Of a short queue as it is now, of a long one as it was at the last listing.
        """
        async with self._listing:
            if self._clock() >= self._stale_at:
                await self._list()
        return tuple(self._named.get(tenant, ()))

    async def active(self, tenant: str) -> int:
        """Jobs of a tenant that are queued or running."""
        await self._look()
        return self.held(tenant)

    async def all_active(self) -> int:
        """Jobs of all tenants that are queued or running."""
        await self._look()
        return self.all_held()

    def held(self, tenant: str) -> int:
        """As `active`, by what is known now: nothing may come between this and `coming`."""
        return self._counts[tenant] + self._coming[tenant]

    def all_held(self) -> int:
        """As `all_active`, by what is known now."""
        return self._counts.total() + self._coming.total()

    def has(self, tenant: str, job: str) -> bool:
        """Whether this very job is counted already: a create of its key may have come so far before."""
        return job in self._named.get(tenant, ())

    def refused(self, tenant: str) -> None:
        """A create of this tenant (`ALL`: of any) finds no room: look closer what counts."""
        for name in tuple(self._named) if tenant == ALL else (tenant,):
            self._lost.refused(name)

    @contextmanager
    def coming(self, tenant: str) -> Iterator[None]:
        """One more is written within the block; it is counted meanwhile, and what `accepted` tells afterwards."""
        self._coming[tenant] += 1
        try:
            yield
        finally:
            self._coming[tenant] -= 1

    def accepted(
        self,
        tenant: str,
        *,
        model: str = "",
        job: str = "",
        priority: int = DEFAULT_PRIORITY,
        deadline_ms: int | None = None,
        work_s: float | None = None,
    ) -> None:
        """One more. `job`: its id. `work_s`: its predicted seconds at the Denoiser."""
        one = _Accepted(tenant, model, job, priority, deadline_ms)
        self._count(one)
        if self._listing.locked():
            self._meanwhile.append(one)
        if work_s is not None:
            for name in (tenant, ALL):
                mean = self._mean_s.get((name, model), work_s)
                self._mean_s[name, model] = mean + _GAIN * (work_s - mean)

    async def ahead_s(
        self, tenant: str, priority: int, deadline_ms: int | None, like_s: float, model: str = ""
    ) -> float:
        """Seconds of the tenant's own work that go before a new job of this model: what is at least as urgent and,
        where that job has a deadline, not due later. `like_s`: see `job_s`.
        """
        await self._look()
        ahead = sum(
            line.before(deadline_ms if level == priority else None)
            for (name, of, level), line in self._lines.items()
            if name == tenant and of in (model, "") and level <= priority
        )
        return ahead * self.job_s(tenant, like_s, model)

    def others_s(self, tenant: str, like_s: float, model: str = "") -> Iterator[tuple[str, float]]:
        """All other tenants with work for this model, and the seconds of it."""
        counts: Counter[str] = Counter()
        for (name, of), count in self._by_model.items():
            if name != tenant and of in (model, "") and count:
                counts[name] += count
        for name, count in counts.items():
            yield name, count * self.job_s(name, like_s, model)

    def job_s(self, tenant: str, like_s: float, model: str = "") -> float:
        """Mean work of a tenant's jobs of this model (`ALL`: of everybody's). Where nothing is known, `like_s`: the
        asker's own."""
        return self._mean_s.get((tenant, model), self._mean_s.get((ALL, model), like_s))

    def seen_again_s(self) -> float:
        """Seconds until the store is listed again: until then, ended jobs are counted."""
        return max(0.0, self._due - self._clock())

    async def _look(self) -> None:
        # Others go on with the old counts while one lists.
        if self._clock() >= self._due and not self._listing.locked():
            async with self._listing:
                await self._list()

    async def _list(self) -> None:
        began = self._clock()
        self._due = began + INTERVAL_S
        self._meanwhile.clear()
        await self._lost.again()
        lines: dict[_Place, _Line] = {}
        unsorted: dict[_Place, list[int]] = {}
        named: dict[str, list[str]] = {}
        async for entry in self._jobs.active():
            if not self._lost.passes(entry.key):
                continue
            place = (entry.tenant, self._model_of(entry.key), entry.priority)
            _name(named, entry.tenant, entry.id)
            if entry.deadline_ms is None:
                lines.setdefault(place, _Line()).open += 1
            else:
                unsorted.setdefault(place, []).append(entry.deadline_ms)
        for place, deadlines in unsorted.items():
            lines.setdefault(place, _Line()).due = array("q", sorted(deadlines))
        counts: Counter[str] = Counter()
        by_model: Counter[tuple[str, str]] = Counter()
        for (tenant, model, _), line in lines.items():
            counts[tenant] += line.before(None)
            by_model[tenant, model] += line.before(None)
        self._lines, self._counts, self._by_model, self._named = lines, counts, by_model, named
        listed = {tenant: set(named.get(tenant, ())) for tenant in {one.tenant for one in self._meanwhile}}
        for one in self._meanwhile:
            if one.job not in listed[one.tenant]:
                self._count(one)
        await self._lost.listed(named)
        ended = self._clock()
        # A short queue's listing is slow where the store is, and that is no reason to count ended jobs for minutes.
        pause_s = 0.0 if counts.total() < SMALL else SHARE * (ended - began)
        self._due = ended + max(INTERVAL_S, pause_s)
        self._stale_at = ended + pause_s

    def _count(self, one: _Accepted) -> None:
        line = self._lines.setdefault((one.tenant, one.model, one.priority), _Line())
        if one.deadline_ms is None:
            line.open += 1
        else:
            insort(line.due, one.deadline_ms)
        self._counts[one.tenant] += 1
        self._by_model[one.tenant, one.model] += 1
        _name(self._named, one.tenant, one.job)


def _name(named: dict[str, list[str]], tenant: str, job: str) -> None:
    known = named.setdefault(tenant, [])
    if job:
        known.append(job)
