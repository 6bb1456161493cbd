"""What a record says that this version never writes stops its own job at most, and never the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadtests.paced import PacedOffice
from serving.store import keys
from tests.unit.serving.director.scenes import HOUR_S, simulated
from tests.unit.serving.later_version import grown


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("plan", {"steps": 0}),
        ("plan", {"segments": []}),
        ("", {"steps_done": 999}),
        ("", {"priority": 12}),
        ("", {"created_ms": -1}),
        ("", {"deadline_ms": -1}),
        ("", {"deadline_ms": 2**50}),
    ],
)
@pytest.mark.parametrize("state", ["queued", "running"])
def test_one_that_no_order_can_be_made_of_stops_nobody(where: str, says: dict[str, Any], state: str) -> None:
    async def scene(office: PacedOffice) -> None:
        odd = office.lay("odd", deadline_ms=office.now_ms() + round(HOUR_S * 1000), state=state, attempt=1)
        office.store.lay(keys.job(*odd.key), grown(odd.encode(), where, **says))
        director = await office.open(slots=4)
        director.wake(*odd.key)
        await asyncio.sleep(5)
        sound = office.lay("studio")
        director.wake(*sound.key)
        await office.wait_until(lambda: sound.id in office.stages.began)
        await office.close()

    simulated(scene)
