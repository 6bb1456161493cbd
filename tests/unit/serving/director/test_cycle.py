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


async def test_the_seconds_of_each_step_are_observed_in_the_order_of_the_turn(office: Office) -> None:
    steps = Steps()
    await office.director(metrics=steps)

    job = await office.job()
    await office.ended(job)

    assert steps.seen[:3] == ["list", "end", "order"], "the first turn; nobody was heard"
    assert {"hear", "claim", "run"} <= set(steps.seen)
    assert all(after == "run" for step, after in zip(steps.seen, steps.seen[1:], strict=False) if step == "claim")
