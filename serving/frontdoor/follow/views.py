"""A job as it stands, for whoever shows it, and what of that is remembered.

`records.py` remembers the bytes of a record and not the parsed one, which costs five times as much: a poll needs only
the answer that was serialised for the poll before. Whoever needs the record has it parsed, once for all who have the
view in hand at that time.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from sys import intern

from serving.jobs.ids import JobKey
from serving.jobs.record import JobRecord, JobState


@dataclass(frozen=True)
class LiveProgress:
    """How far a running job is beyond its record."""

    stage: str
    steps_done: int
    """Over the whole job."""
    segment_index: int
    preview: str = ""
    """The digest of a picture of that segment as it is becoming; empty: there is none."""


@dataclass(slots=True, eq=False)
class Kept:
    """What is remembered of a job. A change makes a new one, so its answers are true as long as it is there."""

    key: JobKey
    data: bytes
    """The record as the store holds it."""
    state: JobState
    model: str
    age: tuple[int, int]
    """Newer records have greater ones. An idempotency key that is used again, long after its job was deleted, makes
    another job under the same id, whose versions begin anew: so the time of creation comes first."""
    attempt: int
    checked: float
    """When it was last known to be what the store holds; monotonic seconds."""
    progress: LiveProgress | None = None
    outdated: bool = False
    """There may be a newer version, and nobody would have told. It shows what is older all the same."""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Serialised answers by surface, each with the minute of its URLs."""
    shown: weakref.ref[View] | None = None
    """The view of it that is in somebody's hand."""

    @property
    def size(self) -> int:
        """Bytes of what it holds."""
        return len(self.data) + sum(len(answer) for _, answer in self.answers.values()) + _OBJECTS_BYTES


_OBJECTS_BYTES = 512
"""Of a `Kept` and the small objects in it."""


def kept(record: JobRecord, *, checked: float = 0.0, progress: LiveProgress | None = None) -> Kept:
    """What to remember of a record."""
    model, age = intern(record.plan.model), age_of(record)
    return Kept(record.key, record.encode(), record.state, model, age, record.attempt, checked, progress)


def age_of(record: JobRecord) -> tuple[int, int]:
    """See `Kept.age`."""
    return record.created_ms, record.version


def view_of(known: Kept, record: JobRecord | None = None) -> View:
    """The view of what is remembered: the one that is in somebody's hand, or one anew. `record`: the parsed one, if it
    is at hand."""
    view = known.shown() if known.shown is not None else None
    if view is None:
        view = View(known, record)
        known.shown = weakref.ref(view)
    elif record is not None:
        view.parsed(record)
    return view


class View:
    """A job as it stands, for the calls that show it at one time."""

    __slots__ = ("__weakref__", "_record", "kept")

    def __init__(self, kept: Kept, record: JobRecord | None = None) -> None:
        """`record`: the parsed one, if it is at hand."""
        self.kept = kept
        self._record = record

    def parsed(self, record: JobRecord) -> None:
        """The record is at hand, and need not be parsed."""
        self._record = record

    @property
    def record(self) -> JobRecord:
        """The record."""
        if self._record is None:
            self._record = JobRecord.decode(self.kept.data)
        return self._record

    @property
    def state(self) -> JobState:
        """The record's state, without parsing it."""
        return self.kept.state

    @property
    def progress(self) -> LiveProgress | None:
        """What the Director has counted since the record was written."""
        return self.kept.progress

    def answer(self, surface: str, minute: int) -> bytes | None:
        """What this surface answered in this minute, if it is still true."""
        known = self.kept.answers.get(surface)
        return known[1] if known is not None and known[0] == minute else None
