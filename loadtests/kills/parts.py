"""A campaign in parts: each is a Longtake of its own that was struck some times, and a line in a file.

Six hundred blows take hours; parts can be run one after the other, on one store or another, and make one table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from loadtests.table import Row
from serving.stages.checkpoint import SHARE


@dataclass
class Part:
    """What one part found."""

    store: str = "directory"
    seed: int = 0
    struck: list[tuple[str, float]] = field(default_factory=list)
    """Each blow, and the seconds until a segment was committed again."""
    jobs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    then: Counter[str] = field(default_factory=Counter)
    """What their clients did with the jobs."""
    lost: list[str] = field(default_factory=list)
    not_made: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Jobs that met errors of ours, though they were made."""
    failures: Counter[str] = field(default_factory=Counter)
    """What clients saw, and no client should."""
    stuck: list[str] = field(default_factory=list)
    reconnects: int = 0
    collections: int = 0
    collected: int = 0
    """Keys that collections deleted."""
    events: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    recomputed: list[int] = field(default_factory=list)
    """Steps, by loss."""
    step_s: list[float] = field(default_factory=list)
    """Of every segment, the time from its first to its last step, by step."""

    @property
    def good(self) -> bool:
        """Whether all that must hold does."""
        return not (self.lost or self.not_made or self.different or self.faults or self.failures or self.stuck)


_LINE = TypeAdapter(Part)


def read(path: Path) -> list[Part]:
    """All parts of a file; none where there is no file yet."""
    return [_LINE.validate_json(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, part: Part) -> None:
    """One more."""
    with path.open("ab") as file:
        file.write(_LINE.dump_json(part) + b"\n")


def together(parts: Sequence[Part]) -> Part:
    """All of them as one."""
    whole = Part(store=", ".join(sorted({part.store for part in parts})))
    for part in parts:
        for one in fields(Part):
            if one.name not in ("store", "seed"):
                setattr(whole, one.name, getattr(whole, one.name) + getattr(part, one.name))
    return whole


def rows(found: Part) -> list[Row]:
    """For the table."""
    names = Counter(name for name, _ in found.struck)
    blows = [
        Row("kills", name, f"{count}", "", f"{median(s for blow, s in found.struck if blow == name):.1f} s to be back")
        for name, count in sorted(names.items())
    ]
    redone, worst = sum(found.recomputed), max(found.recomputed, default=0)
    step_s = median(found.step_s or [0.0])
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.kinds.items()))
    then = ", ".join(f"{count} {what}" for what, count in sorted(found.then.items()))
    return [
        *blows,
        Row("kills", "all blows", f"{len(found.struck)}", found.store),
        Row("kills", "jobs acknowledged", f"{found.jobs}", kinds),
        Row("kills", "of these were", then),
        Row("kills", "collections", f"{found.collections}", f"{found.collected} keys deleted"),
        Row("kills", "blows after which nothing was committed", f"{len(found.stuck)}", aim="0"),
        Row("kills", "jobs lost or not made", f"{len(found.lost) + len(found.not_made)}", aim="0"),
        Row("kills", "videos that differ from undisturbed ones", f"{len(found.different)}", aim="0"),
        Row("kills", "jobs that met an internal error", f"{len(found.faults)}", aim="0"),
        Row("kills", "failures that clients saw", f"{found.failures.total()}", aim="0"),
        Row("kills", "reconnects that clients made", f"{found.reconnects}"),
        Row("kills", "attempts adopted by a new Director", f"{found.events['adopted']}"),
        Row("kills", "workers lost under a job", f"{found.events['lost']}"),
        Row("kills", "steps done again", f"{redone}", f"{found.steps} steps", f"{redone / max(1, found.steps):.3f}"),
        Row("kills", "steps done again after one loss, at most", f"{worst}", f"{worst * step_s:.2f} s of compute"),
        Row("kills", "a checkpoint interval, at 10 ms a checkpoint", f"{0.01 / SHARE:.2f} s of compute"),
    ]
