"""What happened to a job, as its record keeps it: events, and the spans of work that a segment took.

The Director appends an event to the write that it makes anyway, so the history is as true as the record. `explain` of
the command line and of `longtake.v1.Jobs` tell it. Times are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serving.frozen import Stored

KEPT_FIRST = 8
KEPT_LAST = 56


class EventKind(StrEnum):
    """What can happen. A later version may know more: those are kept and told in its word, and decide nothing here."""

    CREATED = "created"
    CLAIMED = "claimed"
    """A Director started an attempt."""
    ADOPTED = "adopted"
    """A new Director went on with an attempt whose lease was fresh."""
    RESUMED = "resumed"
    """A replica went on from a checkpoint, `step` steps in."""
    INGESTED = "ingested"
    COMMITTED = "committed"
    """A segment is durable; `spans` tell what it took."""
    LOST = "lost"
    """A worker went away under the attempt."""
    REQUEUED = "requeued"
    CANCEL_REQUESTED = "cancel_requested"
    ENDED = "ended"


class WorkSpan(Stored):
    """One piece of work for a segment."""

    stage: str
    start_ms: int
    end_ms: int
    replica: str = ""


class Event(Stored):
    """One line of a job's life."""

    kind: Annotated[EventKind | str, Field(union_mode="left_to_right")]
    """A bare string is of a later version."""
    at_ms: int
    attempt: int = 0
    epoch: int = 0
    """Of the Director that wrote it."""
    segment: int | None = None
    """Its place in the whole video."""
    step: int | None = None
    """Steps of the segment that were done."""
    recomputed: int | None = None
    """Steps that had been done before and had to be done again."""
    replica: str = ""
    text: str = ""
    spans: tuple[WorkSpan, ...] = ()
    left_out: int = 0
    """Events between the one before and this one that are not kept any more."""


class Prediction(Stored):
    """When a job was expected to start and to end, and the work that it was expected to be."""

    start_ms: int
    end_ms: int
    seconds: dict[str, float]
    """Engine seconds by stage."""


def appended(events: tuple[Event, ...], event: Event) -> tuple[Event, ...]:
    """The history with one more event. The first and the newest ones are kept, and how many are missing between."""
    grown = (*events, event)
    if len(grown) <= KEPT_FIRST + KEPT_LAST:
        return grown
    dropped, first_kept = grown[KEPT_FIRST], grown[KEPT_FIRST + 1]
    joined = first_kept.model_copy(update={"left_out": dropped.left_out + first_kept.left_out + 1})
    return (*grown[:KEPT_FIRST], joined, *grown[KEPT_FIRST + 2 :])
