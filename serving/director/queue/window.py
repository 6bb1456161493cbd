"""Which waiting jobs are looked at when the next ones are chosen: as many as the slots ask for, however many wait.

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

from collections.abc import Iterable, Iterator
from itertools import chain, islice, takewhile

from serving.director.queue.order import OVERDRAFT_LAGS
from serving.director.queue.shares import Shares
from serving.director.queue.tickets import Waiting
from serving.director.queue.waiting import WaitingJobs
from serving.jobs.record import URGENT

ROOM, ROOM_PER_SLOT = 32, 4
"""Places for each way into the window: more than the slots, for those first in line may run already or be late."""
MOST_AT_ONCE = 64
"""More slots than these make it no larger: not so many starts are on their way at once, and others are seen next."""
PASSED = 4
"""Tenants that are asked about for each place."""
PART = 4
"""One tenant gets at most one of so many places by priority and deadline, but as many as there are slots."""


def window(waiting: WaitingJobs, shares: Shares, slots: int) -> list[Waiting]:
    """See the module. The order of the jobs means nothing."""
    slots = min(slots, MOST_AT_ONCE)
    room = ROOM + ROOM_PER_SLOT * slots
    lowest = shares.lowest()

    def within(tenant: str) -> bool:
        return shares.virtual(tenant) - lowest <= shares.lag_s

    def overdraws(tenant: str) -> bool:
        return shares.lag_s < shares.virtual(tenant) - lowest <= OVERDRAFT_LAGS * shares.lag_s

    each, heads = max(slots, room // PART), PASSED * room
    dated, undated = waiting.dated, waiting.undated
    urgent = takewhile(lambda job: job.priority == URGENT, undated.merged(overdraws, each=slots, heads=heads))
    seen: Iterable[Iterator[Waiting]] = (
        islice(dated.merged(within, each=each, heads=heads), room),
        islice(undated.merged(within, each=each, heads=heads), room),
        islice(dated.merged(overdraws, each=slots, heads=heads), slots),
        islice(urgent, slots),
        _of_the_least_served(waiting, shares, room, slots),
    )
    return list({job.key: job for job in chain.from_iterable(seen)}.values())


def _of_the_least_served(waiting: WaitingJobs, shares: Shares, room: int, slots: int) -> Iterator[Waiting]:
    tenants = shares.least(room, waiting.in_line)
    for place, tenant in enumerate(tenants):
        each = max(-(-room // len(tenants)), slots // (place + 1))
        yield from islice(waiting.dated.of(tenant), each)
        yield from islice(waiting.undated.of(tenant), each)
        if place < slots:
            yield from waiting.undated.first_of(tenant)
