"""How many jobs each tenant has queued and running, near enough for a bound.

The store is listed now and then; in between this front door adds what it accepted. Other front doors' creates
are seen at the next listing, so the bound may be overrun by what they accept in one interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from serving.jobs.repository import Jobs

INTERVAL_S = 5.0
SHARE = 20.0
"""A listing is repeated after at least so many times what it took, so that a huge queue is not listed all
day.
"""


class Backlog:
    """Counts by tenant."""

    def __init__(self, jobs: Jobs, *, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._jobs = jobs
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._due = float("-inf")

    async def active(self, tenant: str) -> int:
        """Jobs of a tenant that are queued or running."""
        if self._clock() >= self._due:
            await self._list()
        return self._counts[tenant]

    async def all_active(self) -> int:
        """Jobs of all tenants that are queued or running."""
        if self._clock() >= self._due:
            await self._list()
        return self._counts.total()

    def accepted(self, tenant: str) -> None:
        """One more."""
        self._counts[tenant] += 1

    async def _list(self) -> None:
        began = self._clock()
        # Others go on with the old counts while this one lists.
        self._due = began + INTERVAL_S
        self._counts = Counter([entry.tenant async for entry in self._jobs.active()])
        self._due = self._clock() + max(INTERVAL_S, SHARE * (self._clock() - began))
