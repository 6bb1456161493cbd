"""Who has had how much: the ledger of served work by which tenants get their fair shares.

Start-time fair queueing. Each tenant has a virtual time: the engine seconds that it was given, divided by its weight.
Whoever is furthest behind has the best claim. A tenant that comes back begins a small credit before the present
minimum: its first work goes first, but nobody saves up claims while away, and nobody who had an idle machine to himself
pays for it later.

One ledger is kept over all models: whoever was given much of one has less of a claim to the others. The Director keeps
it, tells it who has work for which model (`arrived`, `left`) and what each piece of work cost (`charge`); `order.py`
and `window.py` read it. What a call costs does not grow with the number of tenants. It is not stored: a new Director
begins with everybody equal.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping

from serving.director.queue.standing import Standing

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
        self._present = Standing(self._virtual)
        self._models: Counter[str] = Counter()
        """For how many models each of those present has work."""
        self._by_model: dict[str, Standing] = {}
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

    def arrived(self, tenant: str, model: str = "") -> None:
        """It has work for this model, again or still; no name stands for work of which that is not known yet."""
        standing = self.standing(model)
        if tenant in standing:
            return
        self._virtual[tenant] = self.virtual(tenant)
        standing.add(tenant)
        self._models[tenant] += 1
        if tenant not in self._present:
            self._present.add(tenant)
            if len(self._present) == 1:  # one more of several can only lower the minimum
                self._advance()

    def left(self, tenant: str, model: str = "") -> None:
        """It has no more work for it."""
        standing = self.standing(model)
        if tenant not in standing:
            return
        standing.discard(tenant)
        self._models[tenant] -= 1
        if self._models[tenant]:
            return
        del self._models[tenant]
        self._present.discard(tenant)
        if not self._present:  # the machine is idle: all that is past is forgiven
            self._floor = max(self._floor, self._virtual[tenant])
        self._advance()

    def standing(self, model: str) -> Standing:
        """The tenants with work for it."""
        if model not in self._by_model:
            self._by_model[model] = Standing(self._virtual)
        return self._by_model[model]

    def lowest(self, models: Iterable[str]) -> float:
        """The virtual time of the least served of those with work for one of these, or the floor if there are none."""
        entries = [entry for model in models if (entry := self.standing(model).first()) is not None]
        return min(entries)[0] if entries else self._floor

    def _advance(self) -> None:
        entry = self._present.first()
        self._floor = self._floor if entry is None else max(self._floor, entry[0])
        if len(self._virtual) - len(self._present) > REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        """Keep half of what may be remembered, so that this is done rarely."""
        away = ((virtual, tenant) for tenant, virtual in self._virtual.items() if tenant not in self._present)
        kept = {tenant: virtual for virtual, tenant in heapq.nlargest(REMEMBERED // 2, away)}
        for tenant in [one for one in self._virtual if one not in self._present and one not in kept]:
            del self._virtual[tenant]
        for standing in (self._present, *self._by_model.values()):
            standing.list_anew()
