"""Which of a model's waiting jobs are looked at when the next ones are chosen: as many as the slots ask for, however
many wait.

`schedule.py` arranges these and what runs; all others wait unseen. In a window are

1. the jobs that come first by priority and deadline, and as many by priority and age, of all tenants that have not
   had more than the others;
2. a few of the tenants that have, as they may overdraw their share: with a deadline, or urgent;
3. the first jobs of the tenants that were served least, the more of each the fewer there are and the less it was
   served; of the very least served also the oldest without a deadline of each priority, for the turn of the overdue.

What starts is what would start if all were looked at, as long as the first jobs in line can all be in time and their
tenants are within the lag. What the window may change:

- Of jobs without a deadline the oldest are seen first, so a new short one is not taken for one that is due sooner
  while more than a window of older ones waits.
- Where more jobs can no longer be in time than the window holds, the ones behind them are seen only through their
  tenant's share (3). One tenant alone cannot fill it: of each no more than a part is taken.
- A tenant further ahead than may be overdrawn is seen when fewer tenants than the window has places wait.

Nobody starves: whoever waits unseen is served less than those who are seen, so it comes to be among the least served.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, takewhile

from serving.director.queue.lines import Lines, ModelLine
from serving.director.queue.order import OVERDRAFT_LAGS
from serving.director.queue.shares import Shares
from serving.director.queue.tickets import Waiting
from serving.jobs.record import URGENT

ROOM, ROOM_PER_SLOT = 32, 4
"""Places for each way into the window: more than the slots, for those first in line may run already or be late."""
MOST_AT_ONCE = 64
"""More slots than these make it no larger: not so many starts are on their way at once, and others are seen next."""
PASSED = 4
"""Tenants that are asked about for each place."""
PART = 4
"""One tenant gets at most one of so many places by priority and deadline, but as many as there are slots."""


def window(lines: Sequence[ModelLine], shares: Shares, slots: int) -> list[Waiting]:
    """See the module; of several lines as if they were one. The order of the jobs means nothing."""
    slots = min(slots, MOST_AT_ONCE)
    room = ROOM + ROOM_PER_SLOT * slots
    lowest = shares.lowest(line.model for line in lines)

    def within(tenant: str) -> bool:
        return shares.virtual(tenant) - lowest <= shares.lag_s

    def overdraws(tenant: str) -> bool:
        return shares.lag_s < shares.virtual(tenant) - lowest <= OVERDRAFT_LAGS * shares.lag_s

    def merged(of: Sequence[Lines], admits: Callable[[str], bool], each: int) -> Iterator[Waiting]:
        return _at_most(each, _in_one(line.merged(admits, each=each, heads=PASSED * room) for line in of))

    each = max(slots, room // PART)
    dated, undated = [line.dated for line in lines], [line.undated for line in lines]
    urgent = takewhile(lambda job: job.priority == URGENT, merged(undated, overdraws, slots))
    seen: Iterable[Iterator[Waiting]] = (
        islice(merged(dated, within, each), room),
        islice(merged(undated, within, each), room),
        islice(merged(dated, overdraws, slots), slots),
        islice(urgent, slots),
        _of_the_least_served(lines, shares, room, slots),
    )
    return list({job.key: job for job in chain.from_iterable(seen)}.values())


def _of_the_least_served(lines: Sequence[ModelLine], shares: Shares, room: int, slots: int) -> Iterator[Waiting]:
    least = {tenant for line in lines for tenant in shares.standing(line.model).least(room, line.__contains__)}
    tenants = sorted(least, key=lambda tenant: (shares.virtual(tenant), tenant))[:room]
    for place, tenant in enumerate(tenants):
        each = max(-(-room // len(tenants)), slots // (place + 1))
        yield from islice(_in_one(line.dated.of(tenant) for line in lines), each)
        yield from islice(_in_one(line.undated.of(tenant) for line in lines), each)
        if place < slots:
            yield from _at_most(1, _in_one(iter(sorted(line.undated.first_of(tenant), key=_place)) for line in lines))


def _in_one(parts: Iterable[Iterator[Waiting]]) -> Iterator[Waiting]:
    """Jobs of several lines in the order in which they would stand in one."""
    return heapq.merge(*parts, key=_place)


def _at_most(each: int, jobs: Iterable[Waiting]) -> Iterator[Waiting]:
    """Of each tenant and priority the first ones."""
    passed: Counter[tuple[str, int]] = Counter()
    for job in jobs:
        passed[job.tenant, job.priority] += 1
        if passed[job.tenant, job.priority] <= each:
            yield job


def _place(job: Waiting) -> tuple[int, float, int]:
    return job.priority, math.inf if job.deadline_ms is None else job.deadline_ms, job.since_ms
