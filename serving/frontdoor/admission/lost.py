"""Keys of `active/` that stand for no job, for their creates ended before a record was written. `backlog.py` asks.

A front door that dies between the two writes leaves such a key. A create that is sent again uses it, so it may stay for
a week (docs/store.md), and a tenant that may have one job would have none for as long. So it counts for a minute only.

A create that is under way has no record either. Whether it may be is told by our own monotonic clock and nobody else's:
by how long the key was seen without a record. Should a create take longer after all, or be sent again under that key,
it is not counted while it is under way, and a bound may be overrun by that much. Such keys are looked at again before
each listing, so what has a record by then counts.

Records are asked for where a create was refused, and nowhere else: a queue that has room is counted by names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from serving.jobs.ids import JobKey
from serving.jobs.repository import Jobs

COUNTS_FOR_S = 60.0
"""A record that is not there so long after its key is not being written any more: tries of the store end before
(`store/s3/patience.py`, and one answer of it)."""
LOOKS = 256
"""New keys of refused tenants that are looked at with one listing; of one without end, the others come next time."""
MOST = 1000
"""Keys that are known to have no record, and are looked at before each listing. More than that are not told apart from
jobs: whoever has so many has the places of so many."""


class LostKeys:
    """Of one front door. One listing at a time: `again`, `passes` for each key, `listed`."""

    def __init__(self, jobs: Jobs, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._jobs = jobs
        self._clock = clock
        self._since: dict[JobKey, float] = {}
        """Keys without a record, and when they were first seen to have none."""
        self._lost: set[JobKey] = set()
        """Those of them that do not count."""
        self._met: set[JobKey] = set()
        """Those of them that are in this listing."""
        self._written: set[JobKey] = set()
        """Jobs of refused tenants that have a record: it does not go before their key."""
        self._refused: set[str] = set()

    def refused(self, tenant: str) -> None:
        """There is no room for this tenant: the next listing finds out whether its keys stand for jobs."""
        self._refused.add(tenant)

    async def again(self) -> None:
        """A listing begins: what was lost may have a record by now."""
        self._met.clear()
        self._lost.clear()
        if not self._since:
            return
        for key in await self._jobs.written(self._since):
            self._since.pop(key, None)
        now = self._clock()
        self._lost = {key for key, since in self._since.items() if now - since >= COUNTS_FOR_S}

    def passes(self, key: JobKey) -> bool:
        """Whether a key that is listed counts."""
        if key in self._since:
            self._met.add(key)
        return key not in self._lost

    async def listed(self, named: Mapping[str, Sequence[str]]) -> None:
        """A listing has ended. `named`: ids that counted, by tenant."""
        self._since = {key: since for key, since in self._since.items() if key in self._met}
        refused, self._refused = self._refused, set()
        if not refused:
            self._written.clear()
            return
        # Those with few jobs first: they have the fewest places, and need them most.
        line = sorted(refused, key=lambda tenant: len(named.get(tenant, ())))
        there = [(tenant, job) for tenant in line for job in named.get(tenant, ())]
        self._written.intersection_update(there)
        new = [key for key in there if key not in self._written and key not in self._since][:LOOKS]
        found = await self._jobs.written(new)
        self._written |= found
        now = self._clock()
        for key in new[: MOST - len(self._since)]:
            if key not in found:
                self._since[key] = now
