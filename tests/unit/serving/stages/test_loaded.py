"""What a stage measures of its engines, and of the device that they are on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engines.runtimes.base import DeviceMemory
from engines.session import Session
from serving.metrics import DEVICE_MEMORY, Metric, Unrecorded, label_values
from serving.stages.loaded import Loaded

pytestmark = pytest.mark.anyio


class Gauges(Unrecorded):
    """Remembers what was set."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, ...], float] = {}

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        assert metric is DEVICE_MEMORY
        self.found[label_values(metric, labels)] = value


@pytest.mark.parametrize(
    ("memory", "told"),
    [
        (lambda: None, {}),
        (lambda: DeviceMemory(10, 80), {("sprite-2", "used"): 70, ("sprite-2", "total"): 80}),
    ],
)
async def test_the_memory_of_a_gpu_is_told_after_each_call_and_nothing_is_without_one(
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    memory: Callable[[], DeviceMemory | None],
    told: dict[tuple[str, ...], float],
) -> None:
    gauges, session = Gauges(), loaded.session
    assert isinstance(session, Session)
    monkeypatch.setattr(session, "memory", memory)
    measured = Loaded(session, loaded.store, gauges)
    session.family.encode_still(measured, np.zeros((64, 64, 3), np.uint8))
    assert gauges.found == told
