"""The order of work: which job runs next, and which can no longer be in time. Pure; no clock, no store.

The Director arranges all jobs that could run (`arrange`), starts the first few, and gives each of their slices its
rank; the Denoiser's loop takes its next step from the slice of lowest rank. That is all there is of preemption: a job
that ranks better than the running one waits for a step.

1. **Fairness between tenants** (`shares.py`). A tenant that is further ahead than the lag is not eligible while another
   one has work that can be in time.
2. **Priority**, 0 to 9; a smaller number goes first.
3. **Deadline slack**, by the rule of Moore and Hodgson (`in_time.py`). Work is laid out in the order of deadlines;
   whenever a job would be late, the longest one laid out so far is left out. Without that, overload makes everybody
   late: the job nearest its deadline goes first, and that is just the one that will not make it. Who is left out is
   fair too: a tenant that asks for more than the others loses its own jobs first.
4. **The hopeless** come last: they run when nothing else wants the engines.

A job without a deadline has a soft one, a multiple of its own work after it was made; when that cannot be met, it is
overdue and gets the next one, at twice the distance. A fixed turn belongs to the overdue, so that they go on even when
there is always something that is due sooner.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

from serving.director.in_time import Kept
from serving.director.shares import Shares
from serving.stages.contracts import Rank

SOFT_STRETCH = 4.0
"""A job without a deadline ought to be done within this multiple of its own work ..."""
SOFT_CONSTANT_S = 2.0
"""... and this long besides."""

TURN_EVERY_MS = 64_000
TURN_MS = 2_000
"""Of every 64 s, the first 2 belong to the oldest overdue job that nothing else will end: so none starves."""

URGENT = 0
"""The most urgent priority. Its jobs may overdraw their tenant's share ..."""
URGENT_LAGS = 4.0
"""... so many times as far as others; beyond that they wait for their turn like all."""

_IN_TIME, _OVER_SHARE, _HOPELESS = 0.0, 1.0, 2.0
_AFTER_URGENT = 0.5


@dataclass(frozen=True)
class Work:
    """A job that runs or could run."""

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


@dataclass(frozen=True)
class Ranked:
    """A job's place."""

    work: Work
    rank: Rank
    """The lowest goes first. Made of times and classes, never of positions: ranks of different calls compare."""
    hopeless: bool
    """It will not be in time, as things stand."""
    start_ms: int
    end_ms: int
    """As predicted, if nothing else comes."""


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


def arrange(
    work: Iterable[Work], *, now_ms: int, shares: Shares, servers: int = 1, limit: int | None = None
) -> list[Ranked]:
    """All jobs in the order in which they should run, or the first `limit` of them.

    `servers`: engines that work side by side; one job is on one of them at a time.
    """
    due = sorted((_due(job, now_ms) for job in work), key=lambda job: job[:-1])
    kept, dropped = _laid_out(due, now_ms, shares, servers)
    turn = _turn(due, now_ms, shares)
    ranks = [*_ranks_in_time(kept, shares), *_ranks_hopeless(dropped)]
    ranks = [(_turn_rank(job) if job is turn else rank, job) for rank, job in ranks]
    ranks.sort(key=lambda placed: (placed[0], placed[1][:-1]))
    hopeless = {job[4:6] for job in dropped}
    return list(islice(_predicted(ranks, hopeless, now_ms, servers), limit))


def due_ms(work: Work, now_ms: int) -> float:
    """When it ought to be done: its deadline, or the soft one that it can still meet."""
    if work.deadline_ms is not None:
        return work.deadline_ms
    allowed = 1000 * (SOFT_STRETCH * work.remaining_s + SOFT_CONSTANT_S)
    while work.created_ms + allowed < now_ms + 1000 * work.remaining_s:
        allowed *= 2
    return work.created_ms + allowed


def overdue(work: Work, now_ms: int) -> bool:
    """Its deadline is over, or it has none and cannot meet the first soft one. (Others end at their deadline.)"""
    if work.deadline_ms is not None:
        return work.deadline_ms <= now_ms
    return work.created_ms + 1000 * (SOFT_STRETCH * work.remaining_s + SOFT_CONSTANT_S) < due_ms(work, now_ms)


def _due(work: Work, now_ms: int) -> _Due:
    due = due_ms(work, now_ms)
    return _Due(work.priority, due, not work.running, work.created_ms, work.tenant, work.job, work)


def _laid_out(due: list[_Due], now_ms: int, shares: Shares, servers: int) -> tuple[list[_Due], list[_Due]]:
    """Moore and Hodgson's rule, one priority after the other: what can be in time, and what was left out."""
    kept: list[_Due] = []
    dropped: list[_Due] = []
    layout = Kept(shares, servers)
    for _, jobs in groupby(due, key=lambda job: job.priority):
        peers = list(jobs)
        out = layout.lay_out([(job.tenant, job.work.remaining_s, (job.due_ms - now_ms) / 1000) for job in peers])
        for place, job in enumerate(peers):
            (dropped if place in out else kept).append(job)
    return kept, dropped


def _ranks_in_time(kept: list[_Due], shares: Shares) -> Iterator[tuple[Rank, _Due]]:
    leads = {tenant: shares.virtual(tenant) for tenant in {job.tenant for job in kept}}
    behind = min(leads.values(), default=0.0)
    for job in kept:
        lag = shares.lag_s * (URGENT_LAGS if job.priority == URGENT else 1)
        over = leads[job.tenant] - behind > lag
        yield (_OVER_SHARE if over else _IN_TIME, job.priority, job.due_ms, job.created_ms), job


def _ranks_hopeless(dropped: list[_Due]) -> Iterator[tuple[Rank, _Due]]:
    for job in dropped:
        yield (_HOPELESS, job.priority, job.created_ms, job.due_ms), job


def _turn(due: list[_Due], now_ms: int, shares: Shares) -> _Due | None:
    """Whose turn it is, if it is the turn of the overdue."""
    if now_ms % TURN_EVERY_MS >= TURN_MS:
        return None
    late = [job for job in due if overdue(job.work, now_ms)]
    return min(late, key=lambda job: (shares.virtual(job.tenant), job.created_ms, job.tenant, job.job), default=None)


def _turn_rank(job: _Due) -> Rank:
    return _IN_TIME, min(_AFTER_URGENT, job.priority), job.due_ms, job.created_ms


def _predicted(
    ranks: Iterable[tuple[Rank, _Due]], hopeless: set[tuple[str, str]], now_ms: int, servers: int
) -> Iterator[Ranked]:
    """When each would start and end if nothing else came: the next one goes to the server that is free first."""
    free = [float(now_ms)] * servers
    for rank, job in ranks:
        start = free[0]
        end = start + 1000 * job.work.remaining_s
        heapq.heapreplace(free, end)
        yield Ranked(job.work, rank, (job.tenant, job.job) in hopeless, round(start), round(end))
