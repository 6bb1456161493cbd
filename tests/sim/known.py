"""Rules that the shipped code is known to break. The simulation looks past them, unless it is told to be strict.

A rule whose fault is mended goes from here; until then `test_sim.py` expects that a strict run breaks.
"""

from __future__ import annotations

from collections.abc import Iterable

KNOWN = {
    "active-keys-go": (
        "The `active/` key of a job whose terminal write was not answered, or whose Director died before `retire`, is "
        "read every two seconds until the collector takes it."
    ),
    "ends-are-told": (
        "A front door that watches may tell for ever that an ended job runs: the Director does not tell its feed of a "
        "terminal record that it only finds when it claims."
    ),
    "listed-once": (
        "A video is listed twice when its create died between its index and its record, and was sent again later: both "
        "by-time entries lead to it."
    ),
    "ends-soon": (
        "A collector that died while it swept leaves its announcement, and every write of a blob that it names waits a "
        "minute, until the next collection."
    ),
    "leases-are-kept": (
        "A replica whose beat was written but not answered takes its own beat for another holder's, and gives up."
    ),
    "whole-checkpoints": (
        "When two slices of a segment run on one replica, a checkpoint may name the step before its latents'."
    ),
    "errors-are-heard": (
        "Tasks end by errors that nobody looks at: `DirectorLink._wake` and `_watch_forever` when the store is away "
        "(such a front door never watches again), and `JobRun._finish_segment` when the segment ahead fails too."
    ),
}
"""Rule, and what breaks it."""

_tolerated = set(KNOWN)


def tolerated(rule: str) -> bool:
    """Whether the simulation looks past it."""
    return rule in _tolerated


def be_strict(rules: Iterable[str]) -> None:
    """Look past these no more, in this process."""
    _tolerated.difference_update(rules)
