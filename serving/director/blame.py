"""What one run's calls lost, and how often that is held against its job. Of one `attempt.py`.

a worker died       → that is counted since the job last got further: so a long video may outlive many workers, and
                      a job that ends its workers without getting anywhere comes to an end; a death that several
                      of its calls are told of is counted once
a replica is silent → it is counted only where the job got no further since its last loss: nobody saw it die, but a
                      job that hangs its workers comes to an end too
the stage keeps ending everybody's workers → it counts as away, and what was counted for it is taken back, but for
                      losses after which it was seen to work: else a job that ends its workers comes to no end where
                      the stage is away now and then
it works for others after all → a job that lost a worker there alone is kept apart again (`suspects.py`), until it
                      is past the place
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serving.director.stage_gate import Caller, StageGates
from serving.director.suspects import SUSPECT_FROM
from serving.stage_names import ModelStage
from serving.stages.contracts import StageLost

Place = tuple[int, int]
"""Segment and step."""


@dataclass(frozen=True)
class Held:
    """What the job's record is to say after a loss."""

    crashes: int
    is_its_own: bool
    """This loss is among them: nobody else explains it."""


class Blame:
    """Of one run of a job."""

    def __init__(self, gates: StageGates, reached: Place, crashes: int) -> None:
        """`reached`, `crashes`: as its record has them when the run begins."""
        self._gates = gates
        self._reached = reached
        """At the losses so far, the furthest."""
        self._dead: set[str] = set()
        """Replicas whose death is dealt with: a slice and a render call that takes latents there both hear of it."""
        self._before = crashes
        """Crashes that are no loss of this row: what remains when the stage is at fault."""
        self._counted: dict[ModelStage, int] = {}
        """Where those were lost that may be taken back, and how often the stage had finished something by then."""
        self._excused: dict[ModelStage, int] = {}
        """Where a loss was not counted, and how often the stage was found sound until then."""
        self._doubted: dict[ModelStage, int] = {}
        """The same, where it lost the worker alone: if the stage is found sound later, it was this job after all."""

    def knows(self, died: str) -> bool:
        """Whether this replica's death is dealt with; from now on it is. An empty name is known of nobody."""
        if died in self._dead:
            return True
        if died:
            self._dead.add(died)
        return False

    def of(
        self, stage: ModelStage, caller: Caller, gone: StageLost, reached: Place, crashes: int, *, alone: bool
    ) -> Held:
        """For a worker of `stage` that died or is silent. `reached`: how far the job is; `crashes`: of its record;
        `alone`: it was kept apart.
        """
        reached = max(reached, gone.silent_at or reached)
        further = reached > self._reached
        if further:
            self._reached, self._before = reached, 0
            self._counted.clear()
            self._doubted.clear()
        if further and gone.silent_at is not None:
            return Held(0, is_its_own=False)
        if not further:
            self._before = crashes if self._stages_worked_since() else min(self._before, crashes)
        acquittals = self._gates.acquittals(stage)
        self._before += self._excused.get(stage, acquittals) < acquittals
        if self._gates.lost(stage, caller, alone=alone, died=gone.died):
            self._excused.pop(stage, None)
            self._counted[stage] = self._gates.finishes(stage)
            return Held(1 if further else crashes + 1, is_its_own=True)
        self._excused[stage] = acquittals
        self._counted.clear()
        if self._gates.suspects((stage,), caller):
            self._doubted.setdefault(stage, acquittals)
        return Held(self._before, is_its_own=False)

    def in_a_row(self, stages: Sequence[ModelStage], caller: Caller, reached: Place | None, crashes: int) -> int:
        """Workers that it lost so; none once it is past the place where it lost the last one, wherever the count in its
        record begins anew. Of one that a stage suspects the record may not tell: it was excused, or is the second life
        of a dead one. `reached`: None when that is not told.
        """
        if reached is not None and reached > self._reached:
            return 0
        suspected = self._gates.suspects(stages, caller) or any(map(self._is_doubted, stages))
        return max(crashes, SUSPECT_FROM * suspected)

    def finished(self, stages: Sequence[ModelStage]) -> None:
        """They did a piece of work for it, to its end."""
        for stage in stages:
            self._doubted.pop(stage, None)

    def _stages_worked_since(self) -> bool:
        """Whether all stages where something was counted have finished something after it."""
        counted = self._counted.items()
        return bool(counted) and all(self._gates.finishes(stage) > before for stage, before in counted)

    def _is_doubted(self, stage: ModelStage) -> bool:
        return self._gates.acquittals(stage) > self._doubted.get(stage, math.inf)
