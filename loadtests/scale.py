"""How much each benchmark does. `__main__` chooses; small numbers are for development, not for reporting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Counts of one run."""

    rounds: int
    """Paired rounds of each comparison."""
    heavy: int
    """The same where a call takes a second and more."""
    polls: int
    """Calls per burst."""
    videos: int
    """Videos per measurement, after the warm-up."""
    history: int
    """Segments of the long video."""
    jobs: int
    """Jobs that a Director meets at once."""
    queued: int
    """Jobs that wait for a Director whose memory is measured."""
    stored: int
    """Finished videos in the store of a collection."""


FULL = Scale(rounds=10, heavy=4, polls=500, videos=6, history=64, jobs=2000, queued=1_000_000, stored=2000)
QUICK = Scale(rounds=2, heavy=1, polls=250, videos=2, history=8, jobs=100, queued=20_000, stored=100)
