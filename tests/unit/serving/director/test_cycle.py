"""What the Director's turns are measured by."""

from __future__ import annotations

import pytest

from serving.metrics import DIRECTOR_STEP_SECONDS, Metric, Unrecorded
from tests.unit.serving.director.conftest import Office

pytestmark = pytest.mark.anyio


class Steps(Unrecorded):
    """Notes the steps of the Director's turns, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        if metric is DIRECTOR_STEP_SECONDS and value >= 0:
            self.seen.append(labels["step"])


async def test_the_seconds_of_each_step_are_observed(office: Office) -> None:
    steps = Steps()
    await office.director(metrics=steps)

    job = await office.job()
    await office.ended(job)

    assert set(steps.seen) == {"list", "order", "hear", "claim"}
    assert steps.seen.count("claim") == 1
    assert steps.seen.index("hear") < steps.seen.index("claim")
