"""What a collection did, by kind of key. `collect.py` fills it in, `longtake gc` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.store.base import Listed


@dataclass
class Tally:
    """Some keys."""

    keys: int = 0
    bytes: int = 0

    def add(self, entry: Listed) -> None:
        """One more."""
        self.keys += 1
        self.bytes += entry.size


@dataclass
class Counts:
    """The keys of one kind."""

    live: Tally = field(default_factory=Tally)
    """Needed."""
    collected: Tally = field(default_factory=Tally)
    """Deleted, or to be deleted if this was no dry run."""
    young: Tally = field(default_factory=Tally)
    """Not known to be needed, but too young to tell."""


@dataclass(frozen=True)
class Damage:
    """A key that cannot be read. What it needs is not known, so nothing more of its tenant is deleted."""

    tenant: str
    key: str
    why: str


MOST_STRAYS = 100
"""Of the keys that are none of ours, so many are named."""
MOST_DAMAGED = 100
"""Of the keys that cannot be read, so many are named, and of each tenant one: after a way back to an earlier version it
may be all of them."""


@dataclass
class Report:
    """One collection."""

    snapshot_ms: int
    """When it began, by the store's clock: whatever is younger than the margin before this was spared."""
    dry_run: bool
    kinds: dict[str, Counts] = field(default_factory=dict)
    expired_videos: int = 0
    expired_files: int = 0
    damaged: list[Damage] = field(default_factory=list)
    """At least one of each tenant that was left alone, and at most `MOST_DAMAGED` beside those."""
    damaged_besides: int = 0
    """Keys that cannot be read either, and are not named."""
    strays: dict[str, None] = field(default_factory=dict)
    """Keys that nobody of us made, each once and at most `MOST_STRAYS`: they lead nowhere, and are left alone."""

    def of(self, kind: str) -> Counts:
        """The counts of a kind."""
        return self.kinds.setdefault(kind, Counts())

    def damage(self, found: Damage, *, first: bool) -> None:
        """Name a key that cannot be read; `first`: no other of its tenant is named."""
        if first or len(self.damaged) < MOST_DAMAGED:
            self.damaged.append(found)
        else:
            self.damaged_besides += 1

    def stray(self, key: str) -> None:
        """Name a key that is none of ours."""
        if len(self.strays) < MOST_STRAYS:
            self.strays[key.encode(errors="backslashreplace").decode()] = None  # a name may be no text
