"""Work to put in order, in seconds from a fixed moment."""

from __future__ import annotations

from collections.abc import Collection

from serving.director.queue.order import TURN_EVERY_MS, TURN_MS, Ranked, Work, arrange
from serving.director.queue.shares import Shares

NOW = TURN_EVERY_MS * 1000 + TURN_MS
"""Not in the turn of the hopeless."""


def work_of(job: str, remaining: float = 1.0, due: float | None = None, *, tenant: str = "a", **fields: int) -> Work:
    """A job that is due so many seconds from now."""
    deadline = None if due is None else NOW + round(1000 * due)
    return Work(tenant, job, fields.pop("priority", 5), deadline, fields.pop("created", NOW), remaining)


def present(shares: Shares, tenants: Collection[str]) -> None:
    """Exactly these have work now: new ones arrive, then the others leave."""
    for tenant in sorted({*tenants} - {*shares._present}):
        shares.arrived(tenant)
    for tenant in sorted({*shares._present} - {*tenants}):
        shares.left(tenant)


def arranged(*work: Work, now: int = NOW, shares: Shares | None = None, servers: int = 1) -> list[Ranked]:
    shares = shares or Shares()
    present(shares, {job.tenant for job in work})
    return arrange(work, now_ms=now, shares=shares, servers=servers)


def names_of(ranked: list[Ranked]) -> list[str]:
    return [placed.work.job for placed in ranked]
