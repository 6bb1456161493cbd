"""What every run of one Director shares: its models, its clocks, how it writes. `director.py` makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from serving.director.events import Feed
from serving.director.publish import Publisher
from serving.director.served import ServedModels
from serving.director.stage_gate import StageGates
from serving.director.suspects import Suspects
from serving.jobs.dead import DeadLetters
from serving.jobs.epoch import Epoch
from serving.jobs.lease import LeaseWatch
from serving.jobs.record import JobRecord
from serving.metrics import Recorder
from serving.plan import PlannedSegment
from serving.stage_names import StageName
from serving.stages.contracts import Rank
from serving.traces.spans import Traces


class OnWork(Protocol):
    """Told of every piece of work that was done."""

    def __call__(
        self, stage: StageName, record: JobRecord, segment: PlannedSegment, units: int, seconds: float, /
    ) -> None:
        """`units`: steps at the Denoiser, 1 for a whole segment elsewhere. `seconds`: of the engines."""


@dataclass(frozen=True)
class RunContext:
    """One per Director; its runs share it."""

    models: ServedModels
    publisher: Publisher
    epoch: Epoch
    leases: LeaseWatch
    dead: DeadLetters
    feed: Feed
    metrics: Recorder
    traces: Traces
    slice_s: float
    """Longest call to the Denoiser."""
    now_ms: Callable[[], int]
    rank: Callable[[JobRecord], Rank]
    """A running job's rank as of now: the lowest goes first."""
    measured: OnWork
    gates: StageGates
    suspects: Suspects = field(default_factory=Suspects)
