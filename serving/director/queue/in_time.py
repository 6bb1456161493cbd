"""Which jobs can be in time: Moore and Hodgson's rule, with fair shares. Pure; `order.py` uses it.

Moore and Hodgson (1968): lay jobs out in the order of their deadlines; when one would be late, leave out the longest
one laid out so far. On one machine this makes the fewest jobs late. Two things are added here. With several servers a
job starts when its predecessors, spread evenly, are done. And a tenant that would get far ahead of the others loses its
own longest job, whoever has a longer one: else a flood of short jobs would push a neighbour's long one out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from serving.director.queue.shares import Shares


class Layout:
    """The work that is laid out. More urgent classes are laid out first and then stay."""

    def __init__(self, shares: Shares, servers: int) -> None:
        self._shares = shares
        self._servers = servers
        self._seconds = 0.0
        self._leads: dict[str, float] = {}
        """Virtual time of each tenant after its kept work."""

    def lay_out(self, jobs: Sequence[tuple[str, float, float]]) -> set[int]:
        """Jobs as (tenant, seconds of work, seconds until due), soonest due first; the places of those left out."""
        before = self._seconds
        out: set[int] = set()
        peers: _Peers | None = None  # most often nobody is left out, and nobody needs to be compared
        for place, (tenant, work, slack) in enumerate(jobs):
            if before / self._servers + work > slack:  # late whatever its peers do
                out.add(place)
                continue
            self._grow(tenant, work)
            if peers is not None:
                peers.add(place, self._leads[tenant])
            while place not in out and (self._seconds - work) / self._servers + work > slack:
                if peers is None:
                    peers = self._peers(jobs, (earlier for earlier in range(place + 1) if earlier not in out))
                victim = self._victim(peers)
                out.add(victim)
                self._shrink(peers, victim)
        return out

    def append(self, work: float) -> float:
        """Lay out one more job after all others; seconds until it is done."""
        self._seconds += work
        return (self._seconds - work) / self._servers + work

    def _grow(self, tenant: str, work: float) -> None:
        self._seconds += work
        lead = self._leads.get(tenant)
        before = self._shares.virtual(tenant) if lead is None else lead
        self._leads[tenant] = before + work / self._shares.weight(tenant)

    def _peers(self, jobs: Sequence[tuple[str, float, float]], kept: Iterable[int]) -> _Peers:
        peers = _Peers(jobs)
        for place in kept:
            peers.add(place, self._leads[jobs[place][0]])
        return peers

    def _shrink(self, peers: _Peers, place: int) -> None:
        tenant, work, _ = peers.jobs[place]
        self._seconds -= work
        self._leads[tenant] -= work / self._shares.weight(tenant)
        peers.remove(place, self._leads[tenant])

    def _victim(self, peers: _Peers) -> int:
        """The longest; or the longest of the tenant that would be furthest ahead, if that is far ahead of its own."""
        longest = peers.longest()
        first = peers.furthest(self._leads)
        if self._leads[first] - self._leads[peers.jobs[longest][0]] > self._shares.lag_s:
            return peers.longest_of(first)
        return longest


class _Peers:
    """Kept jobs of one class in heaps. What was removed, or has changed since, is skipped when it comes up."""

    def __init__(self, jobs: Sequence[tuple[str, float, float]]) -> None:
        self.jobs = jobs
        self._kept: set[int] = set()
        self._all: list[tuple[float, int]] = []
        self._own: dict[str, list[tuple[float, int]]] = {}
        self._by_lead: list[tuple[float, str]] = []

    def add(self, place: int, lead: float) -> None:
        tenant, work, _ = self.jobs[place]
        self._kept.add(place)
        heapq.heappush(self._all, (-work, -place))
        heapq.heappush(self._own.setdefault(tenant, []), (-work, -place))
        heapq.heappush(self._by_lead, (-lead, tenant))

    def remove(self, place: int, lead: float) -> None:
        tenant = self.jobs[place][0]
        self._kept.discard(place)
        heapq.heappush(self._by_lead, (-lead, tenant))

    def longest(self) -> int:
        return self._first(self._all)

    def longest_of(self, tenant: str) -> int:
        return self._first(self._own[tenant])

    def furthest(self, leads: dict[str, float]) -> str:
        """The tenant with kept jobs here that is furthest ahead."""
        while True:
            lead, tenant = self._by_lead[0]
            if -lead == leads[tenant] and self._any(self._own[tenant]):
                return tenant
            heapq.heappop(self._by_lead)

    def _any(self, heap: list[tuple[float, int]]) -> bool:
        while heap and -heap[0][1] not in self._kept:
            heapq.heappop(heap)
        return bool(heap)

    def _first(self, heap: list[tuple[float, int]]) -> int:
        self._any(heap)
        return -heap[0][1]
