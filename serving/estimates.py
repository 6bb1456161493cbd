"""How long work takes, learnt from what it took: the seconds of a step or a segment, by model and size.

The Director measures every slice and every rendered segment (`observe`), orders waiting work by what is left of it
(`remaining`), and keeps what it learnt in the store under `runtime/estimates`; front doors read it there to say when a
job will be done (`predict`). Pure but for `load` and `save`.

An estimate follows new measurements slowly, and none of them further than three times, so that one step that met a busy
machine moves little. The very first may have been an engine's warm-up, so of the first two the shorter counts. What was
never seen is scaled from the nearest size that was, in proportion to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby

from serving.errors import Conflict, NotFound
from serving.plan import Plan, PlannedSegment
from serving.stage_names import DENOISER, RENDERER, StageName
from serving.store.base import Store
from serving.store.keys import ESTIMATES

_GAIN = 0.1
_CLIP = 3.0
_MOST_S = 1e6
"""No unit takes longer."""
_PRIOR_S: dict[StageName, float] = {DENOISER: 2e-7, RENDERER: 2e-6}
"""Seconds per pixel of latents' native frames, before anything was measured: a step, and a whole segment."""

Name = tuple[str, str, int]
"""Stage, model digest, size."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Course:
    """A plan and how far it has come, as far as time goes. Equal ones are many: those who keep jobs share them."""

    model: str
    model_digest: str
    runs: tuple[tuple[int, int], ...]
    """A size, and how many segments of it follow one another: a film of an hour has hundreds, and few sizes."""
    steps: int
    """Of each segment."""
    steps_done: int

    @classmethod
    def of(cls, plan: Plan, steps_done: int) -> Course:
        """`steps_done`: of the whole plan."""
        sizes = groupby(_size(plan, segment) for segment in plan.segments)
        runs = tuple((size, len(list(run))) for size, run in sizes)
        return cls(plan.model, plan.model_digest, runs, plan.steps, steps_done)

    def at(self, steps_done: int) -> Course:
        """The same, so far."""
        return Course(self.model, self.model_digest, self.runs, self.steps, steps_done)

    def ahead(self) -> list[tuple[int, int]]:
        """The runs of the segments that are not done; the first segment may be begun."""
        done = self.steps_done // self.steps
        if not done:
            return list(self.runs)
        ends = accumulate(count for _, count in self.runs)
        until = zip(self.runs, ends, strict=True)
        return [(size, min(count, end - done)) for (size, count), end in until if end > done]


class Estimates:
    """See the module. A unit of the Denoiser is a step of a segment, of the Renderer a segment."""

    def __init__(self, known: Mapping[Name, float] | None = None) -> None:
        self._known: dict[Name, float] = dict(known or {})
        self._once: set[Name] = set()
        """Of these one unit was measured, and it may have been an engine's first, which takes long."""

    def observe(self, stage: StageName, plan: Plan, segment: PlannedSegment, seconds: float) -> None:
        """A unit of this segment took so long. No time at all tells nothing: all that follows would be 0 for ever."""
        if seconds <= 0:
            return
        name = stage, plan.model_digest, _size(plan, segment)
        before = self._known.get(name)
        if before is None:
            self._known[name] = seconds
            self._once.add(name)
        elif name in self._once:
            self._known[name] = min(before, seconds)
            self._once.discard(name)
        else:
            clipped = min(max(seconds, before / _CLIP), before * _CLIP)
            self._known[name] = before + _GAIN * (clipped - before)

    def unit(self, stage: StageName, plan: Plan, segment: PlannedSegment) -> float:
        """Seconds that a unit will take."""
        return self._unit(stage, plan.model_digest, _size(plan, segment))

    def predict(self, plan: Plan) -> dict[str, float]:
        """Engine seconds of a whole plan, by stage."""
        return {
            DENOISER: sum(plan.steps * self.unit(DENOISER, plan, segment) for segment in plan.segments),
            RENDERER: sum(self.unit(RENDERER, plan, segment) for segment in plan.segments),
        }

    def remaining(self, course: Course) -> float:
        """Denoiser seconds that are left of a job."""
        ahead, begun = course.ahead(), course.steps_done % course.steps
        left = course.steps * self._units(DENOISER, course.model_digest, ahead)
        return left - begun * self._unit(DENOISER, course.model_digest, ahead[0][0]) if begun and ahead else left

    def rendering(self, course: Course) -> float:
        """Renderer seconds that are left of a job whose denoised segments are all rendered."""
        return self._units(RENDERER, course.model_digest, course.ahead())

    def last_rendering(self, course: Course) -> float:
        """Renderer seconds of a job's last segment."""
        return self._unit(RENDERER, course.model_digest, course.runs[-1][0])

    def _units(self, stage: StageName, model_digest: str, runs: list[tuple[int, int]]) -> float:
        return sum(count * self._unit(stage, model_digest, size) for size, count in runs)

    def _unit(self, stage: StageName, model_digest: str, size: int) -> float:
        exact = self._known.get((stage, model_digest, size))
        if exact is not None:
            return exact
        others = [(name[2], s) for name, s in self._known.items() if name[:2] == (stage, model_digest)]
        if not others:
            return _PRIOR_S[stage] * size
        nearest, seconds = min(others, key=lambda other: abs(other[0] - size))
        return seconds * size / nearest

    def encode(self) -> bytes:
        """For the store."""
        return json.dumps([[*name, seconds] for name, seconds in sorted(self._known.items())]).encode()

    @classmethod
    def decode(cls, data: bytes) -> Estimates:
        """What `encode` made. Raises `ValueError` for anything else."""
        try:
            known = {(str(stage), str(model), int(size)): float(s) for stage, model, size, s in json.loads(data)}
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"these are no estimates: {error}") from error
        # Whoever orders or predicts by them divides by sizes, and lays out seconds on a line.
        if not all(size > 0 and 0 <= seconds <= _MOST_S for (_, _, size), seconds in known.items()):
            raise ValueError("these are no estimates: no time or no size is like this")
        return cls({name: seconds for name, seconds in known.items() if seconds})


async def load(store: Store) -> Estimates:
    """What is known so far; nothing at the first start."""
    try:
        return Estimates.decode((await store.get(ESTIMATES)).data)
    except NotFound:
        return Estimates()


async def save(store: Store, estimates: Estimates) -> None:
    """Keep them. Another Director's may be overwritten: they are learnt again in no time."""
    data = estimates.encode()
    try:
        if await store.put_if_absent(ESTIMATES, data):
            return
        found = await store.get(ESTIMATES)
        if found.data != data:
            await store.swap(ESTIMATES, data, found.version)
    except Conflict:  # somebody knows it better just now
        return


def _size(plan: Plan, segment: PlannedSegment) -> int:
    """Pixels of a native frame times latents: a segment's tokens are in proportion to it."""
    return plan.height * plan.width * segment.latents
