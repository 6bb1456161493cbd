"""The order of work: which job runs next, and which can no longer be in time. Pure; no clock, no store.

The Director arranges the jobs that it looks at (`arrange`; `window.py` says which), starts the first few, and gives
each of their slices its rank; the Denoiser's loop takes its next step from the slice of lowest rank. That is all there
is of preemption: a job that ranks better than the running one waits for a step.

1. **Fairness between tenants** (`shares.py`). A tenant that is further ahead than the lag is not eligible while another
   one has work that can be in time; it yields unless its job would miss a deadline by that, or is urgent, and further
   ahead than four lags it yields in any case.
2. **Priority**, 0 to 9; a smaller number goes first.
3. **Deadline slack**, by the rule of Moore and Hodgson (`in_time.py`). Work is laid out in the order of deadlines;
   whenever a job would be late, the longest one laid out so far is left out. Without that, overload makes everybody
   late: the job nearest its deadline goes first, and that is just the one that will not make it. Who is left out is
   fair too: a tenant that asks for more than the others loses its own jobs first.
4. **The hopeless** come last: they run when nothing else wants the engines.

A job without a deadline has a soft one, a multiple of its own work after it was made; when that cannot be met, it is
overdue and gets the next one, at twice the distance; it is never hopeless. A fixed turn belongs to the overdue, so that
they go on even when there is always something that is due sooner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import chain, groupby
from operator import attrgetter
from typing import NamedTuple

from serving.director.queue.in_time import Layout
from serving.director.queue.shares import Shares
from serving.jobs.ids import JobKey
from serving.jobs.record import URGENT
from serving.stages.contracts import Rank

SOFT_STRETCH = 2.0
"""A job without a deadline ought to be done within this multiple of its own work ..."""
SOFT_CONSTANT_S = 0.1
"""... and this long besides."""

TURN_EVERY_MS = 64_000
TURN_MS = 2_000
"""Of every 64 s, the first 2 belong to the oldest overdue job that nothing else will end: so none starves."""

OVERDRAFT_LAGS = 4.0
"""An urgent job, and one that would miss its deadline, may overdraw its tenant's share: to a lead of so many lags."""

OVERFULL = 4
"""So many times the slots run at once, overtaken ones included."""

_IN_TIME, _OVER_SHARE, _HOPELESS = 0.0, 1.0, 2.0
_AFTER_URGENT = 0.5


class Work(NamedTuple):
    """A job that runs or could run. Thousands are made with each order: a tuple is made quickest."""

    tenant: str
    job: str
    priority: int
    """0 to 9; a smaller number is more urgent."""
    deadline_ms: int | None
    """When its steps must be done (what comes after them is the caller's to subtract)."""
    created_ms: int
    remaining_s: float
    """Predicted engine seconds left at the Denoiser."""
    running: bool = False


class Why(StrEnum):
    """Why a job has its place, in words for those who wait for it."""

    RUNNING = "running"
    NEXT = "next"
    """Of all jobs that do not run, the first."""
    WAITS = "waits its turn"
    OVER_SHARE = "over its share"
    """Its tenant has had more than others that have work: those go first."""
    LATE = "cannot be in time"
    """Its deadline is too near for its work: what can be in time goes first."""
    NOT_SERVED = "not served"
    """Its model was taken out of this installation. When it is back, the job goes on."""


class Ranked(NamedTuple):
    """A job's place."""

    work: Work
    rank: Rank
    """The lowest goes first. Made of times and classes, never of positions: ranks of different calls compare."""
    why: Why

    @property
    def key(self) -> JobKey:
        """Its tenant and id."""
        return self.work.tenant, self.work.job

    @property
    def hopeless(self) -> bool:
        """It will not be in time, as things stand."""
        return self.why is Why.LATE


class _Due(NamedTuple):
    """A job with the time at which it ought to be done, in the order in which work is laid out."""

    priority: int
    due_ms: float
    idle: bool
    """Of two equals the one that runs goes on."""
    created_ms: int
    tenant: str
    job: str
    work: Work


def arrange(work: Iterable[Work], *, now_ms: int, shares: Shares, servers: int = 1) -> list[Ranked]:
    """All jobs in the order in which they should run.

    `servers`: engines that work side by side; one job is on one of them at a time.
    """
    return list(_told(sorted(_ranks(work, now_ms, shares, servers))))


def ranks(work: Iterable[Work], *, now_ms: int, shares: Shares, servers: int = 1) -> dict[tuple[str, str], Rank]:
    """The ranks alone, by tenant and job: a part of the cost, for those who know already who goes first."""
    return {(job.tenant, job.job): rank for rank, job in _ranks(work, now_ms, shares, servers)}


def to_start(ranked: Sequence[Ranked], *, slots: int) -> list[Ranked]:
    """Whom of those that do not run to start: the best, as far as `slots` goes.

    A job that was overtaken after its start stays where it is and holds a state at a Denoiser, so what a tenant has
    running is bounded: by `OVERFULL` times the slots, shared by all tenants with work, but at least the slots. It is
    bounded by tenant so that nobody's overtaken jobs keep a newcomer out. What is urgent starts in any case.
    """
    tenants = {placed.work.tenant for placed in ranked}
    most = max(slots, OVERFULL * slots // max(1, len(tenants)))
    running = Counter(placed.work.tenant for placed in ranked if placed.work.running)
    chosen: list[Ranked] = []
    for placed in ranked[:slots]:
        work = placed.work
        if not work.running and (work.priority == URGENT or running[work.tenant] < most):
            running[work.tenant] += 1
            chosen.append(placed)
    return chosen


def due_ms(work: Work, earliest_ms: float) -> float:
    """When it ought to be done: its deadline, or the first soft one that is not before `earliest_ms`."""
    if work.deadline_ms is not None:
        return work.deadline_ms
    allowed = _soft_ms(work)
    while work.created_ms + allowed < earliest_ms:
        allowed *= 2
    return work.created_ms + allowed


def overdue(work: Work, now_ms: int) -> bool:
    """Its deadline is over, or it has none and cannot meet the first soft one. (Others end at their deadline.)"""
    if work.deadline_ms is not None:
        return work.deadline_ms <= now_ms
    return work.created_ms + _soft_ms(work) < now_ms + 1000 * work.remaining_s


def _soft_ms(work: Work) -> float:
    return 1000 * (SOFT_STRETCH * work.remaining_s + SOFT_CONSTANT_S)


def _ranks(work: Iterable[Work], now_ms: int, shares: Shares, servers: int) -> Iterator[tuple[Rank, _Due]]:
    due = sorted(_due(job, now_ms + 1000 * job.remaining_s) for job in work)
    kept, hopeless = _laid_out(due, now_ms, shares, servers)
    turn = _turn(due, now_ms, shares)
    for rank, job in chain(_ranks_in_time(kept, now_ms, shares, servers), _ranks_hopeless(hopeless)):
        yield (_turn_rank(job) if job.work is turn else rank), job


def _due(work: Work, earliest_ms: float) -> _Due:
    due = due_ms(work, earliest_ms)
    return _Due(work.priority, due, not work.running, work.created_ms, work.tenant, work.job, work)


def _laid_out(due: list[_Due], now_ms: int, shares: Shares, servers: int) -> tuple[list[_Due], list[_Due]]:
    """Moore and Hodgson's rule, one priority after the other: what can be in time, and what is hopeless.

    A job without a deadline that was left out gets a later soft one, after all that is laid out.
    """
    kept: list[_Due] = []
    hopeless: list[_Due] = []
    layout = Layout(shares, servers)
    for _, jobs in groupby(due, key=attrgetter("priority")):
        peers = list(jobs)
        out = layout.lay_out([(job.tenant, job.work.remaining_s, (job.due_ms - now_ms) / 1000) for job in peers])
        kept += [job for place, job in enumerate(peers) if place not in out] if out else peers
        for job in (peers[place] for place in sorted(out)):
            if job.work.deadline_ms is not None:
                hopeless.append(job)
            else:
                kept.append(_due(job.work, now_ms + 1000 * layout.append(job.work.remaining_s)))
    return sorted(kept), hopeless


def _ranks_in_time(kept: list[_Due], now_ms: int, shares: Shares, servers: int) -> Iterator[tuple[Rank, _Due]]:
    """A tenant that is ahead yields to those that are not, if its job can then still be in time."""
    leads = {tenant: shares.virtual(tenant) for tenant in {job.tenant for job in kept}}
    behind = min(leads.values(), default=0.0)
    first_s = sum(job.work.remaining_s for job in kept if leads[job.tenant] - behind <= shares.lag_s)
    yielded_s = 0.0
    for job in kept:
        lead, work = leads[job.tenant] - behind, job.work.remaining_s
        over = lead > shares.lag_s
        if over and lead <= OVERDRAFT_LAGS * shares.lag_s:
            late = job.due_ms < now_ms + 1000 * ((first_s + yielded_s) / servers + work)
            over = job.priority > URGENT and not (late and job.work.deadline_ms is not None)
            first_s += 0 if over else work
        yielded_s += work if over else 0
        yield (_OVER_SHARE if over else _IN_TIME, job.priority, job.due_ms, job.created_ms), job


def _ranks_hopeless(hopeless: list[_Due]) -> Iterator[tuple[Rank, _Due]]:
    for job in hopeless:
        yield (_HOPELESS, job.priority, job.created_ms, job.due_ms), job


def _turn(due: list[_Due], now_ms: int, shares: Shares) -> Work | None:
    """Whose turn it is, if it is the turn of the overdue."""
    if now_ms % TURN_EVERY_MS >= TURN_MS:
        return None
    late = [job.work for job in due if overdue(job.work, now_ms)]
    return min(late, key=lambda job: (shares.virtual(job.tenant), job.created_ms, job.tenant, job.job), default=None)


def _turn_rank(job: _Due) -> Rank:
    return _IN_TIME, min(_AFTER_URGENT, job.priority), job.due_ms, job.created_ms


def _told(places: Iterable[tuple[Rank, _Due]]) -> Iterator[Ranked]:
    next_one = True
    for rank, job in places:
        why = _why(rank, job.work, next_one=next_one)
        next_one = next_one and why is not Why.NEXT
        yield Ranked(job.work, rank, why)


def _why(rank: Rank, work: Work, *, next_one: bool) -> Why:
    """What holds a job back is told first, of one that runs too: it runs where others leave a gap."""
    if rank[0] == _HOPELESS:
        return Why.LATE
    if rank[0] == _OVER_SHARE:
        return Why.OVER_SHARE
    if work.running:
        return Why.RUNNING
    return Why.NEXT if next_one else Why.WAITS
