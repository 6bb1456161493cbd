"""A job that waits or runs, as its key under `active/` tells: all that ordering needs, without a read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Active:
    """One key of `active/`."""

    tenant: str
    id: str
    priority: int
    """0 to 9; a smaller number is more urgent."""
    deadline_ms: int | None
    """None: it has none."""
