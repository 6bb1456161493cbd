"""Who has had how much: the ledger of served work by which tenants get their fair shares.

Start-time fair queueing. Each tenant has a virtual time: the engine seconds that it was given, divided by its weight.
Whoever is furthest behind has the best claim. A tenant that comes back begins a small credit before the present
minimum: its first work goes first, but nobody saves up claims while away, and nobody who had an idle machine to himself
pays for it later.

The Director keeps one, tells it who has work (`arrived`, `left`) and what each piece of work cost (`charge`);
`order.py` and `window.py` read it. What a call costs does not grow with the number of tenants. It is not stored: a new
Director begins with everybody equal.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

LAG_S = 2.0
"""How far one tenant may get ahead of another that waits, in engine seconds at weight 1: some jobs' worth. Less would
chop the machine into slices and make everybody's video late; more would make a quiet tenant wait."""

CREDIT_LAGS = 1.0
"""A newcomer's credit, in lags: whoever was there is then just as far ahead as may be, so the newcomer goes first."""

REMEMBERED = 4096
"""Tenants without work whose lead is remembered, at most; those with the smallest leads are forgotten."""


class Shares:
    """One Director's ledger."""

    def __init__(self, weights: Mapping[str, float] | None = None, *, lag_s: float = LAG_S) -> None:
        """`weights`: a tenant of weight 2 gets twice what one of weight 1 gets; the default is 1."""
        wrong = {tenant: weight for tenant, weight in (weights or {}).items() if not weight > 0}
        if wrong:
            raise ValueError(f"weights must be greater than 0: {wrong}")
        self.lag_s = lag_s
        """A tenant further ahead than this is not eligible while others wait."""
        self._weights = dict(weights or {})
        self._virtual: dict[str, float] = {}
        self._present: set[str] = set()
        self._order: list[tuple[float, str]] = []
        """A heap with an entry for each of those present, and for some that have left. The virtual time in it may be
        an earlier one: it only grows, so the entry comes up soon enough to be set right."""
        self._listed: set[str] = set()
        """Who has an entry there."""
        self._floor = 0.0
        """The present minimum. It only grows: the credit of one newcomer is no reason to give the next one more."""

    @property
    def remembered(self) -> int:
        """Tenants that are remembered."""
        return len(self._virtual)

    def weight(self, tenant: str) -> float:
        """Its weight."""
        return self._weights.get(tenant, 1.0)

    def virtual(self, tenant: str) -> float:
        """Its virtual time: where it stands, or would begin if it came now."""
        if tenant in self._present:
            return self._virtual[tenant]
        entry = self._floor - CREDIT_LAGS * self.lag_s
        return max(self._virtual.get(tenant, entry), entry)

    def charge(self, tenant: str, seconds: float) -> None:
        """It was given so many engine seconds."""
        self._virtual[tenant] = self.virtual(tenant) + seconds / self.weight(tenant)
        self._advance()

    def arrived(self, tenant: str) -> None:
        """It has work, again or still."""
        if tenant in self._present:
            return
        self._virtual[tenant] = self.virtual(tenant)
        self._present.add(tenant)
        if tenant not in self._listed:
            self._listed.add(tenant)
            heapq.heappush(self._order, (self._virtual[tenant], tenant))
        if len(self._present) == 1:  # one more of several can only lower the minimum
            self._advance()

    def left(self, tenant: str) -> None:
        """It has no more work."""
        if tenant not in self._present:
            return
        self._present.discard(tenant)
        if not self._present:  # the machine is idle: all that is past is forgiven
            self._floor = max(self._floor, self._virtual[tenant])
        self._advance()

    def least(self, count: int, among: Callable[[str], bool]) -> list[str]:
        """So many of those present, the least served first."""
        found: list[str] = []
        passed: list[tuple[float, str]] = []
        while len(found) < count and (entry := self._least()) is not None:
            passed.append(heapq.heappop(self._order))
            if among(entry[1]):
                found.append(entry[1])
        for entry in passed:
            heapq.heappush(self._order, entry)
        return found

    def lowest(self) -> float:
        """The virtual time of the least served of those present, or the floor if there are none."""
        entry = self._least()
        return self._floor if entry is None else entry[0]

    def _least(self) -> tuple[float, str] | None:
        """The first entry, after all before it that are no longer true."""
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

    def _advance(self) -> None:
        self._floor = max(self._floor, self.lowest())
        if len(self._order) > 2 * len(self._present) + REMEMBERED:
            self._list_present()
        if len(self._virtual) - len(self._present) > REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        """Keep half of what may be remembered, so that this is done rarely."""
        away = ((virtual, tenant) for tenant, virtual in self._virtual.items() if tenant not in self._present)
        kept = heapq.nlargest(REMEMBERED // 2, away)
        present = {tenant: self._virtual[tenant] for tenant in self._present}
        self._virtual = present | {tenant: virtual for virtual, tenant in kept}
        self._list_present()  # whoever is forgotten may come back with less than an entry of it says

    def _list_present(self) -> None:
        self._order = [(self._virtual[tenant], tenant) for tenant in self._present]
        self._listed = set(self._present)
        heapq.heapify(self._order)
