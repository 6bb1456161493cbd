"""A job that waits or runs, as its key under `active/` tells: all that ordering needs, without a read."""

from __future__ import annotations

from dataclasses import dataclass

from serving.jobs.ids import JobKey


@dataclass(frozen=True)
class Active:
    """One key of `active/`."""

    tenant: str
    id: str
    priority: int
    """0 to 9; a smaller number is more urgent."""
    deadline_ms: int | None
    """None: it has none."""
    since_ms: int | None = None
    """When the key was written, by the store's clock; None where a store does not tell."""

    @property
    def key(self) -> JobKey:
        """Its tenant and id."""
        return self.tenant, self.id
