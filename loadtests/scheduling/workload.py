"""The jobs of the simulated world: a seeded mix of short and long videos of the sprite model.

Step times are those that `dit_flops` measures on 2 cores (RESULTS.md: 0.44 GFLOP at 97 GFLOP/s for a 16:9 root, 0.64 at
87 for an extension). Each real step differs from that by some noise, which the Director's predictions do not know.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

STEPS_PER_SEGMENT = 8
ROOT_STEP_S = 0.0045
STEP_S = 0.0073
NOISE = 0.1
"""Standard deviation of the logarithm of a step's time, half of it common to all steps of a job."""

SHORT, LONG = (1, 4), (8, 15)
"""Seconds of video, each drawn evenly: short ones are previews, long ones the takes that are kept."""
SHARE_SHORT = 0.7
STRETCH = (1.5, 8.0)
"""A job's deadline: its own predicted work times something between these, ..."""
CONSTANT_S = 0.5
"""... and this long besides."""


@dataclass(frozen=True)
class Job:
    """One video."""

    name: str
    tenant: str
    arrives_s: float
    steps: tuple[float, ...]
    """Seconds that each step takes."""
    predicted: tuple[float, ...]
    """Seconds that each is thought to take."""
    deadline_s: float | None
    priority: int = 5

    @property
    def work_s(self) -> float:
        """All of its steps."""
        return sum(self.steps)


def mean_work_s() -> float:
    """Expected work of one job."""
    share = {SHORT: SHARE_SHORT, LONG: 1 - SHARE_SHORT}
    seconds = sum(share[kind] * (sum(kind) / 2 - 1) for kind in share)
    return STEPS_PER_SEGMENT * (ROOT_STEP_S + STEP_S * seconds)


def video(
    draw: random.Random,
    name: str,
    tenant: str,
    arrives_s: float,
    *,
    seconds: int | None = None,
    deadline: bool = True,
    priority: int = 5,
) -> Job:
    """One job; of a random length unless `seconds` says it."""
    length = draw.randint(*(SHORT if draw.random() < SHARE_SHORT else LONG)) if seconds is None else seconds
    predicted = (ROOT_STEP_S,) * STEPS_PER_SEGMENT + (STEP_S,) * STEPS_PER_SEGMENT * (length - 1)
    common = draw.lognormvariate(0, NOISE / 2)
    steps = tuple(common * step * draw.lognormvariate(0, NOISE / 2) for step in predicted)
    due = arrives_s + draw.uniform(*STRETCH) * sum(predicted) + CONSTANT_S if deadline else None
    return Job(name, tenant, arrives_s, steps, predicted, due, priority)


def poisson(
    draw: random.Random, tenants: dict[str, float], count: int, *, load: float, deadline: bool = True
) -> list[Job]:
    """`count` jobs of tenants that send in these proportions, together `load` times what one engine can do."""
    jobs: list[Job] = []
    now = 0.0
    for number in range(count):
        now += draw.expovariate(load / mean_work_s())
        (tenant,) = draw.choices(list(tenants), list(tenants.values()))
        jobs.append(video(draw, f"{number}", tenant, now, deadline=deadline))
    return jobs
