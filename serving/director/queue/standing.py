"""Tenants with work, the least served first: all of them, or those with work for one model. `shares.py` keeps these.

What a call costs does not grow with the number of tenants that have none of this work.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping

SPARE = 4096
"""So many entries may be of tenants that have left, besides as many as there are others."""


class Standing:
    """Some tenants, in the order of their virtual times."""

    def __init__(self, virtual: Mapping[str, float]) -> None:
        """`virtual`: of every tenant that is here, and it only grows."""
        self._virtual = virtual
        self._present: set[str] = set()
        self._order: list[tuple[float, str]] = []
        """A heap with an entry for each of those present, and for some that have left. The virtual time in it may be
        an earlier one: it only grows, so the entry comes up soon enough to be set right."""
        self._listed: set[str] = set()
        """Who has an entry there."""

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._present

    def __len__(self) -> int:
        return len(self._present)

    def __iter__(self) -> Iterator[str]:
        return iter(self._present)

    def add(self, tenant: str) -> None:
        """It is here from now on."""
        self._present.add(tenant)
        if tenant not in self._listed:
            self._listed.add(tenant)
            heapq.heappush(self._order, (self._virtual[tenant], tenant))

    def discard(self, tenant: str) -> None:
        """It is not here any more."""
        self._present.discard(tenant)
        if len(self._order) > 2 * len(self._present) + SPARE:
            self.list_anew()

    def least(self, count: int, among: Callable[[str], bool]) -> list[str]:
        """So many of those here, the least served first."""
        found: list[str] = []
        passed: list[tuple[float, str]] = []
        while len(found) < count and (entry := self.first()) is not None:
            passed.append(heapq.heappop(self._order))
            if among(entry[1]):
                found.append(entry[1])
        for entry in passed:
            heapq.heappush(self._order, entry)
        return found

    def first(self) -> tuple[float, str] | None:
        """The least served, after all entries before it that are no longer true."""
        while self._order:
            virtual, tenant = self._order[0]
            if tenant not in self._present:
                heapq.heappop(self._order)
                self._listed.discard(tenant)
            elif virtual < self._virtual[tenant]:
                heapq.heapreplace(self._order, (self._virtual[tenant], tenant))
            else:
                return virtual, tenant
        return None

    def list_anew(self) -> None:
        """Those here alone. Whoever is forgotten may come back with less than an entry of it says."""
        self._order = [(self._virtual[tenant], tenant) for tenant in self._present]
        self._listed = set(self._present)
        heapq.heapify(self._order)
