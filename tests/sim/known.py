"""What the ledger knows of a job: the store's record, and when what happened to it. The rules share it."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.jobs.record import JobRecord
from tests.sim import model
from tests.sim.process import Process


@dataclass
class Job:
    """One job. Times are the world's seconds."""

    record: JobRecord
    created_at: float
    further_at: float
    """When it was created, or last published something."""
    further_before_at: float
    """The same, once before that."""
    expected: list[model.Made] | None = None
    ended_at: float | None = None
    asked_to_cancel_at: float | None = None
    workers: dict[Process, tuple[float, float]] = field(default_factory=dict)
    """When each replica began to step it, and its newest step."""
    came: dict[Process, float] = field(default_factory=dict)
    """When each replica was sent its newest slice of it."""
    held_up: dict[Process, float] = field(default_factory=dict)
    """When a replica began to step it whom the store had kept waiting until after its end."""
    steps: set[tuple[int, int]] = field(default_factory=set)
    """Segment and step of all that was ever done for it."""
    unsaved_s: dict[tuple[Process, int], float] = field(default_factory=dict)
    """Compute seconds of a replica since the newest checkpoint of a segment."""
    killed: int = 0
    """Workers that it ended itself."""
    blamed: int = 0
    """The same, when the stage was known to work for others."""
